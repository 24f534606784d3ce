// What streams, jobs and events look like. Text only ever enters as text.

import * as api from "./api.js";
import * as words from "./words.js";

export function make(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children.filter((child) => child !== null && child !== ""));
  return node;
}

function pill([text, tone]) {
  return make("span", `pill ${tone}`, text);
}

// A button that asks once more before it does what cannot be taken back.
function careful(label, sure, act) {
  const button = make("button", "quiet", label);
  button.type = "button";
  let waiting = 0;
  const calm = () => {
    clearTimeout(waiting);
    waiting = 0;
    button.textContent = label;
    button.classList.remove("sure");
  };
  button.addEventListener("click", async () => {
    if (!waiting) {
      button.textContent = sure;
      button.classList.add("sure");
      waiting = setTimeout(calm, 4000);
      return;
    }
    calm();
    button.disabled = true;
    await act();
    button.disabled = false;
  });
  return button;
}

function figure(name, value, more = "", tone = "") {
  return make("div", tone, make("dt", "", name), make("dd", "", value, make("small", "", more)));
}

function figures(status) {
  const unprotected = words.total(status.unprotected);
  const dropped = words.total(status.dropped);
  const blocked = words.total(status.blocked);
  const verdicts = words.total(status.verdicts);
  const missed = status.faces - status.protected_faces;
  return make(
    "dl",
    "figures",
    figure("Unprotected", words.number(unprotected), words.reasons(status.unprotected) || "no picture", unprotected ? "bad" : "good"),
    figure("Speed", `${(status.fps || 0).toFixed(1)} fps`, status.width ? `${status.width} x ${status.height}` : "no picture yet"),
    figure("Delay", `${words.number(1000 * status.latency_seconds)} ms`, "from decoded to encoded"),
    figure("Pictures", words.number(status.frames_out), `of ${words.number(status.frames_in)} that came`),
    figure("Faces", words.number(status.faces), missed ? `${words.number(missed)} not protected` : status.faces ? "all protected" : "none seen"),
    figure("Dropped", words.number(dropped), words.reasons(status.dropped) || "none"),
    figure("Blocked", words.number(blocked), words.reasons(status.blocked) || "none"),
    figure("Reconnects", words.number(status.reconnects), status.filled ? `${words.number(status.filled)} pictures filled in` : ""),
    verdicts ? figure("Verdicts", words.number(verdicts), words.reasons(status.verdicts)) : "",
  );
}

function pictures(name) {
  const shown = ["original", "protected", "difference"].map((kind) => {
    const image = make("img", "");
    image.alt = `${name}, ${kind}`;
    const caption = { original: "As it came", protected: "As it left", difference: "Difference, made visible" }[kind];
    const said = make("figcaption", "", caption);
    return { kind, image, said, caption, node: make("figure", "", image, said) };
  });
  const refresh = () => Promise.all(shown.map(async ({ kind, image, said, caption }) => {
    try {
      const place = await api.picture(`/v1/streams/${encodeURIComponent(name)}/snapshot?kind=${kind}`);
      image.onload = () => URL.revokeObjectURL(place);
      image.src = place;
      said.textContent = caption;
    } catch (failure) {
      said.textContent = `${caption}: ${failure.message}`;
    }
  }));
  return { node: make("div", "pictures", ...shown.map(({ node }) => node)), refresh };
}

function ways(state) {
  const outputs = (state.status.outputs || []).filter((output) => output.state !== "open");
  const to = state.outputs.length ? state.outputs.join(", ") : "nowhere";
  const age = `${words.origin(state.origin)} ${words.duration(Date.now() / 1000 - state.started)} ago`;
  const restarts = state.restarts ? `, restarted ${words.plural(state.restarts, "time", "times")}` : "";
  const troubled = outputs.map((output) => make("p", "error", `Output ${output.url}: ${words.plain(output.state)}`));
  return make("div", "ways soft", make("p", "", `${state.source} → ${to}`), make("p", "", age + restarts), ...troubled);
}

export function streamCard(name, stop) {
  const node = make("article", "card");
  node.dataset.name = name;
  const look = make("button", "quiet", "Show pictures");
  look.type = "button";
  look.setAttribute("aria-expanded", "false");
  const stopping = careful("Stop", "Stop it, really?", stop);
  const views = pictures(name);
  const body = make("div", "");
  const head = make("div", "head");
  views.node.hidden = true;
  look.addEventListener("click", () => {
    views.node.hidden = !views.node.hidden;
    look.textContent = views.node.hidden ? "Show pictures" : "Hide pictures";
    look.setAttribute("aria-expanded", String(!views.node.hidden));
    if (!views.node.hidden) views.refresh();
  });
  const title = make("h3", "", name);
  const buttons = make("div", "buttons", look, stopping);
  node.append(head, body, views.node);
  const update = (state, writes) => {
    const error = state.error || state.status.error || "";
    stopping.hidden = !writes || state.origin === "config";
    head.replaceChildren(title, pill(words.phase(state.phase)), buttons, ways(state));
    body.replaceChildren(...[error ? make("p", "error", error) : null, state.status.phase ? figures(state.status) : null].filter(Boolean));
    if (!views.node.hidden) views.refresh();
  };
  return { node, update };
}

export function jobRow(id, cancel) {
  const node = make("article", "card job");
  node.dataset.id = id;
  const bar = make("progress", "");
  bar.max = 1;
  bar.setAttribute("aria-label", "Progress");
  const cancelling = careful("Cancel", "Cancel it, really?", cancel);
  const files = make("div", "files");
  const state = make("div", "state");
  const share = make("div", "share");
  const error = make("p", "error");
  state.append(share, bar);
  node.append(files, state, cancelling, error);
  const update = (job, writes) => {
    const what = job.kind === "screen" ? `Screen ${job.source}` : `${job.source} → ${job.output}`;
    const when = job.ended ? `ended ${words.clock(job.ended)}` : `queued ${words.clock(job.created)}`;
    const tries = job.attempts > 1 ? `, attempt ${job.attempts}` : "";
    files.replaceChildren(make("p", "", what), make("p", "soft", `${job.id}, ${when}${tries}`));
    const running = job.phase !== "ended";
    share.replaceChildren(pill(words.outcome(job)), running ? `${Math.floor(100 * job.progress)} %` : "");
    bar.value = job.progress;
    bar.hidden = !running;
    cancelling.hidden = !writes || !running;
    error.textContent = job.error;
    error.hidden = !job.error;
  };
  return { node, update };
}

export function eventLine(event) {
  const time = make("time", "", words.clock(event.time));
  const about = event.stream || event.job;
  const text = about && !event.message.includes(about) ? `${about}: ${event.message}` : event.message;
  const kind = make("span", `kind ${words.importance(event.kind)}`, words.plain(event.kind));
  return make("li", "", time, kind, make("span", "text", text));
}
