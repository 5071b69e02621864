# SPDX-License-Identifier: Apache-2.0
"""A site that tries to get its patients out by every way there is, and a server that keeps all it gets.

Lies on the path of the processes of ``test_exfiltration.py``, and its classes on their allow lists. Every way carries a
canary of its own, and the files that are streamed a patient besides.
"""

import logging
import struct
import uuid
from pathlib import Path

import numpy as np
import torch
from nvflare.apis.analytix import AnalyticsDataType
from nvflare.apis.controller_spec import Task
from nvflare.apis.dxo import DXO
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.controller import Controller
from nvflare.apis.shareable import ReservedHeaderKey, Shareable, make_reply
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.streamers.file_streamer import FileStreamer
from nvflare.app_common.widgets.streaming import create_analytic_dxo, send_analytic_dxo
from nvflare.fuel.f3.cellnet.core_cell import TargetMessage
from nvflare.fuel.f3.cellnet.utils import make_reply as cell_reply
from nvflare.fuel.f3.message import Message
from nvflare.fuel.f3.streaming.file_downloader import add_file, download_file
from nvflare.fuel.f3.streaming.obj_downloader import ObjectDownloader

from fedxai.bundle import Bundle
from fedxai.explain import explain_batch
from fedxai.flare.executors import TrainExecutor
from fedxai.flare.messages import REASON, read_dxo, summary_message, update_message, weights_message
from fedxai.intake.stored import read_values
from fedxai.records import Evaluation, Evaluations, Figure, SiteRound

TOPIC = "canary"
OF_A_TAG = "CANARYTAG"
ARTEFACT = str(uuid.uuid5(uuid.NAMESPACE_DNS, "artefact"))
RESULTS = (
    "array in metrics",
    "extra field",
    "extra header",
    "extra tensor",
    "wrong dtype",
    "not finite",
    "extra meta",
    "oversize string",
    "figures too fine",
    "count as an image",
    "name of a metric",
    "one patient",
    "exception text",
    "public property",
    "beside the data",
)
VALIDATE = (
    "array in metrics",
    "extra field",
    "figures too fine",
    "count as an image",
    "name of a metric",
    "one patient",
)
CHANNELS = (
    "aux message",
    "aux broadcast below",
    "fed event",
    "analytics",
    "file stream",
    "artefact download",
    "unknown channel",
    "raw blob",
    "raw frame",
    "print and log",
)


def canary(way: str) -> bytes:
    """Eight printable bytes that only this way carries; as a float64 they are a finite number of a common size."""
    place = (*RESULTS, *CHANNELS).index(way)
    return b"CaN%02dr_@" % place


def number_of(way: str) -> float:
    return struct.unpack("<d", canary(way))[0]


class HostileSite(TrainExecutor):
    """Answers every task with the leak whose number stands in the task's round."""

    def execute(self, task_name, shareable, fl_ctx, abort_signal):
        round_ = shareable.get_header(AppConstants.CURRENT_ROUND)
        if task_name == "explain":
            smuggle(self, fl_ctx)
            return make_reply("EXECUTION_EXCEPTION", {REASON: "RunError: no answer"})
        if task_name == "survey" or round_ is None:
            return super().execute(task_name, shareable, fl_ctx, abort_signal)
        site = fl_ctx.get_engine().get_component("site").enter(fl_ctx)
        way = RESULTS[round_]
        if way == "public property":
            fl_ctx.set_prop("canary", canary(way).decode("latin1"), private=False, sticky=False)
        return leak(way, site, read_dxo(shareable).data)


def honest(site, weights):
    """An update and an evaluation that may leave."""
    figure = Figure(value=0.5, n=site.cohort.counts().test)
    report = SiteRound(name=site.name, training_loss=0.5, validation={"loss": figure}, steps=1, seconds=1)
    update = {name: np.zeros_like(tensor) for name, tensor in weights.items() if tensor.dtype.kind == "f"}
    part = Evaluation(split="test", cases=figure.n, patients=figure.n, metrics={"loss": figure})
    answer = summary_message(Evaluations(validation=part, test=part))
    return update_message(update, report, cases=site.trainer.training_cases), answer


def leak(way, site, weights):  # noqa: PLR0912  (one branch a way)
    """The answer that carries the canary of ``way``."""
    train, validate = honest(site, weights)
    mark, text = canary(way), canary(way).decode("latin1")
    update, meta, metrics = read_dxo(train).data, read_dxo(train).meta, read_dxo(validate).data
    first = next(iter(update))
    loss = metrics["test"]["metrics"]["loss"]
    if way == "array in metrics":
        loss["value"] = np.frombuffer(mark * 64, np.uint8)
    elif way == "extra field":
        metrics["test"]["pixels"] = mark * 64
    elif way == "extra header":
        train.set_header("saliency", mark * 64)
    elif way == "extra tensor":
        update["saliency"] = np.frombuffer(mark * 64, np.uint8).astype(np.uint8)
    elif way == "wrong dtype":
        update[first] = np.full(update[first].shape, number_of(way), np.float64)
    elif way == "not finite":
        bits = b"\xff\xff\xff\xff" + mark
        update[first] = np.resize(np.frombuffer(bits, np.float32), update[first].shape).copy()
    elif way == "extra meta":
        meta["patient"] = text
    elif way == "oversize string":
        meta["fedxai_site_round"]["name"] = text * 100
    elif way == "figures too fine":
        loss["value"] = number_of(way)
    elif way == "count as an image":
        metrics["test"]["cases"] = int.from_bytes(mark, "little")
    elif way == "name of a metric":
        metrics["test"]["metrics"][text] = loss
    elif way == "one patient":
        loss.update(n=1, value=round(7707 / 1e4, 4))  # nowhere written as it is searched for
    elif way == "exception text":
        return make_reply("EXECUTION_EXCEPTION", {REASON: f"ValueError: {text}"})
    elif way == "beside the data":
        train["saliency"] = mark * 64
    return validate if way in VALIDATE else train


def smuggle(component, fl_ctx: FLContext) -> None:
    """All ways that pass by task results; what is refused by an exception is one more refusal."""
    for way in CHANNELS:
        try:
            _WAYS[way](component, fl_ctx, canary(way))
        except Exception as error:
            logging.getLogger("hostile").info("%s ended with %s", way, type(error).__name__)


def _aux(component, fl_ctx, mark):
    request = Shareable({"x": mark})
    fl_ctx.get_engine().send_aux_request(targets=None, topic=TOPIC, request=request, timeout=5, fl_ctx=fl_ctx)


def _below(component, fl_ctx, mark):
    message = TargetMessage(_server(fl_ctx), "aux_communication", TOPIC, Message({}, _aux_payload(fl_ctx, mark)))
    fl_ctx.get_engine().get_cell().fire_multi_requests_and_forget({message.target: message})


def _aux_payload(fl_ctx, mark):
    request = Shareable({"x": mark})
    request.set_header(ReservedHeaderKey.TOPIC, TOPIC)
    request.set_peer_props(fl_ctx.get_all_public_props())
    return request


def _event(component, fl_ctx, mark):
    component.fire_fed_event("canary_event", Shareable({"x": mark}), fl_ctx)


def _analytics(component, fl_ctx, mark):
    dxo = create_analytic_dxo("loss", mark.decode("latin1"), AnalyticsDataType.TEXT)
    send_analytic_dxo(component, dxo, fl_ctx, fire_fed_event=True)


def _server(fl_ctx) -> str:
    """The server's process of this job."""
    return f"server.{fl_ctx.get_job_id()}"


def _secret_file(fl_ctx, mark: bytes) -> Path:
    """The mark, and one patient: the name, the file, the pixels, what the network sees of them, and their map."""
    site = fl_ctx.get_engine().get_component("site").enter(fl_ctx)
    case = site.cohort.cases("training")[0]
    [seen] = site.trainer.explanation_batches("training", limit=1, batch_size=1)
    pixels, _ = read_values(case.image, what="image")
    words = f"{case.group} {case.image.name} {OF_A_TAG}".encode()
    path = Path("secret.bin").resolve()
    forms = [pixels, pixels.astype(np.float32), (pixels / 255).astype(np.float32)]
    forms += [seen["image"].numpy(), map_of(site.bundle, seen["image"])]
    path.write_bytes(mark * 64 + words + case.image.read_bytes() + b"".join(form.tobytes() for form in forms))
    return path


def map_of(bundle: Bundle, image: torch.Tensor) -> np.ndarray:
    """The saliency map of an image under the network that training begins with."""
    torch.set_num_threads(1)  # the same to the last bit in whatever process
    [found] = explain_batch(bundle.network(seed=0), image, methods=["gradient_x_input"]).maps.values()
    return found.detach().cpu().numpy()


def _file(component, fl_ctx, mark):
    FileStreamer.stream_file(TOPIC, "file", {}, ["server"], str(_secret_file(fl_ctx, mark)), fl_ctx)


def _artefact(component, fl_ctx, mark):
    downloader = ObjectDownloader(cell=fl_ctx.get_engine().get_cell(), timeout=60, num_receivers=1)
    add_file(downloader, str(_secret_file(fl_ctx, mark)), ref_id=ARTEFACT)


def _unknown(component, fl_ctx, mark):
    cell = fl_ctx.get_engine().get_cell()
    cell.fire_and_forget(channel=TOPIC, topic="message", targets=_server(fl_ctx), message=Message({}, {"x": mark}))


def _blob(component, fl_ctx, mark):
    fl_ctx.get_engine().get_cell().send_blob(TOPIC, "blob", _server(fl_ctx), Message({}, mark * 64))


def _frame(component, fl_ctx, mark):
    core = fl_ctx.get_engine().get_cell().core_cell
    core.fire_and_forget("canary_frames", "frame", _server(fl_ctx), Message({}, mark * 64))


def _log(component, fl_ctx, mark):
    component.log_error(fl_ctx, f"case {mark.decode('latin1')}", fire_event=True)


_WAYS = {
    "aux message": _aux,
    "aux broadcast below": _below,
    "fed event": _event,
    "analytics": _analytics,
    "file stream": _file,
    "artefact download": _artefact,
    "unknown channel": _unknown,
    "raw blob": _blob,
    "raw frame": _frame,
    "print and log": _log,
}


class KeepingServer(Controller):
    """Asks for every leak, one a task, and writes whatever arrives to ``arrived.bin``."""

    def __init__(self, bundle: str) -> None:
        super().__init__()
        self._bundle = bundle
        self._file = Path()

    def start_controller(self, fl_ctx):
        engine = fl_ctx.get_engine()
        folder = Path(engine.get_workspace().get_run_dir(fl_ctx.get_job_id()))
        (folder / "files").mkdir(parents=True, exist_ok=True)
        self._folder, self._file = folder, folder / "arrived.bin"
        engine.register_aux_message_handler(topic=TOPIC, message_handle_func=self._aux)
        FileStreamer.register_stream_processing(fl_ctx, TOPIC, "file", dest_dir=str(folder / "files"))
        cell = engine.get_cell()
        cell.register_request_cb(channel=TOPIC, topic="message", cb=self._message)
        cell.register_blob_cb(TOPIC, "blob", lambda future: self.keep(bytes(future.result())))
        cell.core_cell.register_request_cb("canary_frames", "frame", self._message)

    def stop_controller(self, fl_ctx):
        pass

    def handle_event(self, event_type, fl_ctx):
        super().handle_event(event_type, fl_ctx)
        if event_type not in vars(EventType).values():
            self.keep(fl_ctx.get_prop(FLContextKey.EVENT_DATA))

    def control_flow(self, abort_signal, fl_ctx):
        network = Bundle.open(self._bundle).network(seed=0)
        weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
        self._ask("survey", Shareable(), fl_ctx, abort_signal)
        for place, way in enumerate(RESULTS):
            data = weights_message(weights, round_=place)
            data.set_header(AppConstants.NUM_ROUNDS, len(RESULTS))
            self._ask("validate" if way in VALIDATE else "train", data, fl_ctx, abort_signal)
        self._ask("explain", weights_message(weights, round_=0, fedxai_role="round"), fl_ctx, abort_signal)
        cell = fl_ctx.get_engine().get_cell()
        target = f"site-1.{fl_ctx.get_job_id()}"
        download_file(target, ARTEFACT, 5, cell, location=str(self._folder / "files"), abort_signal=abort_signal)

    def _ask(self, name, data, fl_ctx, abort_signal):
        def received(client_task, fl_ctx):
            peer = fl_ctx.get_peer_context()
            self.keep([name, client_task.result, peer.get_all_public_props() if peer else None])
            client_task.result = None

        task = Task(name=name, data=data, timeout=90, result_received_cb=received)
        self.broadcast_and_wait(task, fl_ctx, min_responses=1, abort_signal=abort_signal)

    def process_result_of_unknown_task(self, client, task_name, client_task_id, result, fl_ctx):
        self.keep(result)

    def _aux(self, topic, request, fl_ctx):
        self.keep(request)
        return make_reply("OK")

    def _message(self, request):
        self.keep(request.payload)
        return cell_reply("ok")

    def keep(self, arrived) -> None:
        with self._file.open("ab") as file:
            for leaf in leaves(arrived):
                file.write(leaf + b"\n")


def leaves(value):
    """All that a value holds, as bytes."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from leaves(name)
            yield from leaves(part)
    elif isinstance(value, DXO):
        yield from leaves([value.data_kind, value.data, value.meta])
    elif isinstance(value, list | tuple):
        for part in value:
            yield from leaves(part)
    elif isinstance(value, np.ndarray):
        yield value.tobytes()
    elif isinstance(value, float):
        yield struct.pack("<d", value)
        yield repr(value).encode()
    elif isinstance(value, int):
        yield value.to_bytes(max(8, value.bit_length() // 8 + 1), "little", signed=True)
    elif isinstance(value, bytes | bytearray):
        yield bytes(value)
    else:
        yield str(value).encode("latin1", "replace")
