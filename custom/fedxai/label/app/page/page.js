// SPDX-License-Identifier: Apache-2.0
"use strict";

const find = (id) => document.getElementById(id);
let image = null;
let pictures = [];

/* An answer of the server; what it refuses is said in its own sentence. */
async function ask(method, path, query = {}, body = undefined) {
  const address = `../${path}?${new URLSearchParams(query)}`;
  const answer = await fetch(address, {
    method,
    headers: body === undefined ? {} : { "Content-Type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.detail || "The server could not answer.");
  return told;
}

function say(sentence) {
  find("message").textContent = sentence;
}

/* Runs what a button asks for; nothing else can be asked for until it has ended. */
async function busy(what, work) {
  const buttons = [find("next"), find("save")];
  buttons.forEach((button) => { button.disabled = true; });
  say(what);
  try {
    say(await work());
  } catch (error) {
    say(error.message);
  } finally {
    buttons.forEach((button) => { button.disabled = false; });
  }
}

/* Fills a list; `none` stands first and means nothing of it. */
function choose(select, names, none = undefined) {
  const first = none === undefined ? [] : [new Option(none, "")];
  select.replaceChildren(...first, ...names.map((name) => new Option(name)));
}

function turn(place) {
  find("slice").value = place;
  find("place").textContent = `${Number(place) + 1} of ${pictures.length}`;
  find("picture").src = `data:image/png;base64,${pictures[place]}`;
}

/* Of each class a row: its name and probability, the likeliest first. */
function tell(told) {
  const classes = Object.entries(told.probabilities || {}).sort((one, other) => other[1] - one[1]);
  find("classes").replaceChildren(...classes.map(([name, probability]) => {
    const row = document.createElement("tr");
    row.insertCell().textContent = name;
    row.insertCell().textContent = `${(100 * probability).toFixed(1)} %`;
    return row;
  }));
  find("explained").textContent = `The bands are for ${told.explained_class}, by ${told.method}.`;
  find("right").hidden = classes.length === 0;
  choose(find("said").elements.label, classes.map(([name]) => name), "as the model says, or unsure");
}

async function next() {
  find("case").hidden = true;
  image = null;
  const sample = await ask("POST", `activelearning/${encodeURIComponent(find("strategy").value)}`, {}, {});
  if (!sample.id) return "There is no case to read.";
  const told = await ask("POST", "infer/saliency/pictures", { image: sample.id, method: find("method").value });
  image = sample.id;
  pictures = told.pictures;
  find("said").reset();
  find("slice").max = pictures.length - 1;
  find("turn").hidden = pictures.length < 2;
  tell(told);
  turn(told.first);
  find("case").hidden = false;
  return "";
}

async function save() {
  const given = Object.fromEntries([...new FormData(find("said"))].filter(([, value]) => value !== ""));
  if (given.agreement) given.agreement = Number(given.agreement);
  await ask("PUT", "feedback/image", { image }, given);
  return "Saved, with your name and the time.";
}

async function begin() {
  const [person, about] = await Promise.all([ask("GET", "auth/token/valid"), ask("GET", "info/")]);
  const role = person.roles[0];
  const saves = role !== "reader";
  find("who").textContent = `${person.name} (${role})${saves ? "" : ": may look, and not save"}`;
  find("said").hidden = !saves;
  choose(find("strategy"), Object.keys(about.strategies));
  choose(find("method"), about.models.saliency.config.saliency_method);
  return "";
}

find("next").addEventListener("click", () => busy("The model looks at a case …", next));
find("slice").addEventListener("input", (event) => turn(event.target.value));
find("said").addEventListener("submit", (event) => {
  event.preventDefault();
  busy("Saving …", save);
});
busy("", begin);
