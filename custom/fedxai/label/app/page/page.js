// SPDX-License-Identifier: Apache-2.0
"use strict";

const find = (id) => document.getElementById(id);
let image = null;
let pictures = [];
let share = 1; // of a picture's width that the image takes; the rest is the bands beside it
let outlines = []; // what was drawn on the case: picture, name, points
let line = null; // the one that is being drawn

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

function turn(slice) {
  find("slice").value = slice;
  find("place").textContent = `${Number(slice) + 1} of ${pictures.length}`;
  find("picture").src = `data:image/png;base64,${pictures[slice]}`;
  paint();
}

/* Lays the lines of this slice over the image. */
function paint() {
  const canvas = find("drawing");
  canvas.width = share * find("picture").clientWidth;
  canvas.height = find("picture").clientHeight;
  const pen = canvas.getContext("2d");
  pen.strokeStyle = "#56b4e9";
  pen.lineWidth = 2;
  outlines.filter(({ picture }) => picture === Number(find("slice").value)).forEach(({ points }) => {
    pen.beginPath();
    points.forEach(([right, down]) => pen.lineTo(right * canvas.width, down * canvas.height));
    if (points !== line) pen.closePath();
    pen.stroke();
  });
}

/* Where the pointer is, as shares of the image. */
function place(event) {
  const { left, top, width, height } = find("drawing").getBoundingClientRect();
  return [(event.clientX - left) / width, (event.clientY - top) / height].map((one) => Math.min(Math.max(one, 0), 1));
}

function draw(event) {
  event.target.setPointerCapture(event.pointerId);
  line = [place(event)];
  outlines.push({ picture: Number(find("slice").value), name: find("structure").value, points: line });
}

function follow(event) {
  if (!line) return;
  line.push(place(event));
  paint();
}

function lift() {
  if (line && line.length < 3) outlines.pop();
  line = null;
  paint();
}

function undo() {
  outlines.pop();
  paint();
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
  const sample = await ask("POST", `activelearning/${encodeURIComponent(find("strategy").value)}`, {}, {});
  return sample.id ? show(sample.id) : "There is no case to read.";
}

function looked(asked) {
  return ask("POST", "infer/saliency/pictures", { image: asked, method: find("method").value });
}

async function show(asked) {
  find("case").hidden = true;
  image = null;
  const told = await looked(asked);
  image = asked;
  ({ pictures, share } = told);
  outlines = [];
  find("said").reset();
  find("slice").max = pictures.length - 1;
  find("turn").hidden = pictures.length < 2;
  tell(told);
  find("case").hidden = false;
  turn(told.first);
  return "";
}

async function save() {
  const given = Object.fromEntries([...new FormData(find("said"))].filter(([, value]) => value !== ""));
  if (given.agreement) given.agreement = Number(given.agreement);
  if (outlines.length) given.outlines = outlines;
  await ask("PUT", "feedback/image", { image }, given);
  const saved = "Saved, with your name and the time.";
  if (!outlines.length) return saved;
  const { scores, chance } = await looked(image);
  if (scores.relevance_mass == null) return saved;
  const [e, level] = [scores, chance].map((one) => one.relevance_mass.toFixed(3));
  return `${saved} Of the model's evidence ${e} lies in what readers drew (E; chance ${level}).`;
}

async function begin() {
  const [person, about] = await Promise.all([ask("GET", "auth/token/valid"), ask("GET", "info/")]);
  const role = person.roles[0];
  const saves = role !== "reader";
  find("who").textContent = `${person.name} (${role})${saves ? "" : ": may look, and not save"}`;
  find("said").hidden = find("drawing").hidden = !saves;
  choose(find("strategy"), Object.keys(about.strategies));
  choose(find("method"), about.models.saliency.config.saliency_method);
  const { type, labels } = about.models.prediction;
  choose(find("structure"), type === "segmentation" ? Object.keys(labels) : ["lesion"]);
  const asked = new URLSearchParams(location.search).get("image");
  return asked ? show(asked) : "";
}

find("next").addEventListener("click", () => busy("The model looks at a case …", next));
find("slice").addEventListener("input", (event) => turn(event.target.value));
find("picture").addEventListener("load", paint);
window.addEventListener("resize", paint);
find("drawing").addEventListener("pointerdown", draw);
find("drawing").addEventListener("pointermove", follow);
find("drawing").addEventListener("pointerup", lift);
find("drawing").addEventListener("pointercancel", lift);
find("undo").addEventListener("click", undo);
find("said").addEventListener("submit", (event) => {
  event.preventDefault();
  busy("Saving …", save);
});
busy("", begin);
