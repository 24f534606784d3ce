// The operator's page: asks every two seconds, and at once when an event says that something changed.

import * as api from "./api.js";
import { eventLine, jobRow, make, streamCard } from "./views.js";
import * as words from "./words.js";

const EVERY_MS = 2000;
const MOST_EVENTS = 200;
const SHOWN_JOBS = 50;
const find = (id) => document.getElementById(id);
const cards = new Map();
const rows = new Map();
const state = { role: "read", turn: 0, last: 0, failure: "", health: null, streams: [], jobs: [] };

// Keeps one view an item, in the order of the list, so that what is open stays open.
function show(list, views, place, key, create) {
  const wanted = new Set(list.map((item) => item[key]));
  for (const [name, view] of views) {
    if (!wanted.has(name)) {
      view.node.remove();
      views.delete(name);
    }
  }
  list.forEach((item, index) => {
    if (!views.has(item[key])) views.set(item[key], create(item[key]));
    const view = views.get(item[key]);
    view.update(item, state.role === "write");
    if (place.children[index] !== view.node) place.insertBefore(view.node, place.children[index] || null);
  });
}

function notes() {
  const found = [];
  if (state.failure) found.push(make("p", "note bad", make("b", "", state.failure), ". Trying again; what is shown may be old."));
  for (const stream of state.streams) {
    const count = words.total(stream.status.unprotected);
    if (!count) continue;
    const left = make("b", "", `${words.plural(count, "picture", "pictures")} left ${stream.name} unprotected`);
    found.push(make("p", "note bad", left, `: ${words.reasons(stream.status.unprotected)}.`));
  }
  const health = state.health;
  if (health && !health.ready) {
    const [text, tone] = words.health(health);
    found.push(make("p", `note ${tone}`, make("b", "", text), health.reasons.length ? `: ${health.reasons.join("; ")}` : ""));
  }
  return found;
}

function draw() {
  const [text, tone] = state.failure ? ["No answer", "bad"] : state.health ? words.health(state.health) : ["Asking", "busy"];
  find("ready").textContent = text;
  find("ready").className = `pill ${tone}`;
  const said = notes();
  if (find("notes").textContent !== said.map((note) => note.textContent).join("")) find("notes").replaceChildren(...said);
  show(state.streams, cards, find("streams"), "name", (name) => streamCard(name, () => act(() => api.remove(`/v1/streams/${name}`))));
  show(state.jobs, rows, find("jobs"), "id", (id) => jobRow(id, () => act(() => api.remove(`/v1/jobs/${id}`))));
  find("no-streams").hidden = state.streams.length > 0;
  find("no-jobs").hidden = state.jobs.length > 0;
  const running = state.streams.filter((stream) => stream.phase === "running").length;
  find("streams-sum").textContent = state.streams.length ? `${running} of ${state.streams.length} running` : "";
  const open = state.jobs.filter((job) => job.phase !== "ended").length;
  const all = state.jobs.length < SHOWN_JOBS ? "" : ` of the newest ${SHOWN_JOBS}`;
  find("jobs-sum").textContent = state.jobs.length ? `${open}${all} to do` : "";
}

async function refresh() {
  try {
    const paths = ["/readyz", "/v1/streams", `/v1/jobs?limit=${SHOWN_JOBS}`];
    [state.health, state.streams, state.jobs] = await Promise.all(paths.map(api.get));
    state.failure = "";
  } catch (failure) {
    if (failure.status === 401) return ask("This token is not valid any more.");
    state.failure = failure.message;
  }
  return draw();
}

async function act(what) {
  try {
    await what();
  } catch (failure) {
    find("notes").append(make("p", "note bad", failure.message));
    return;
  }
  await refresh();
}

function happened(event) {
  if (event.id <= state.last) return;
  state.last = event.id;
  find("events").prepend(eventLine(event));
  find("no-events").hidden = true;
  while (find("events").children.length > MOST_EVENTS) find("events").lastChild.remove();
  soon();
}

let planned = 0;
function soon() {
  if (!planned) planned = setTimeout(() => { planned = 0; refresh(); }, 100);
}

const pause = (milliseconds) => new Promise((go) => setTimeout(go, milliseconds));

async function follow(turn) {
  while (turn === state.turn) {
    try {
      await api.listen(state.last, () => { find("live").textContent = "live"; }, happened);
    } catch (failure) {
      if (failure.status === 401) return;
    }
    find("live").textContent = "not connected";
    await pause(3000);
  }
}

async function poll(turn) {
  while (turn === state.turn) {
    if (!document.hidden) await refresh();
    await pause(EVERY_MS);
  }
}

function ask(why) {
  state.turn += 1;
  api.token.forget();
  find("login").hidden = false;
  find("content").hidden = true;
  find("forget").hidden = true;
  find("ready").textContent = "Token needed";
  find("ready").className = "pill warn";
  find("who").textContent = "";
  find("notes").replaceChildren();
  find("login").querySelector(".said").textContent = why;
}

async function enter() {
  let about;
  try {
    about = await api.get("/v1/about");
  } catch (failure) {
    if (failure.status === 401) return ask(api.token.get() ? "The daemon does not know this token." : "");
    state.failure = failure.message;
    draw();
    return setTimeout(enter, EVERY_MS);
  }
  state.role = about.role;
  const turn = ++state.turn;
  await refresh();
  find("login").hidden = true;
  find("content").hidden = false;
  find("forget").hidden = !about.token;
  find("links").hidden = Boolean(about.token);  // a link sends no token
  for (const node of [find("start"), find("submit"), ...document.querySelectorAll(".writes")]) {
    node.hidden = about.role !== "write";
  }
  const may = about.role === "write" ? "" : ", may only look";
  find("who").textContent = [about.token && `${about.token}${may}`, `version ${about.version}`].filter(Boolean).join(" · ");
  follow(turn);
  return poll(turn);
}

function form(place, path, body, done) {
  const node = find(place).querySelector("form");
  node.addEventListener("submit", async (event) => {
    event.preventDefault();
    const said = node.querySelector(".said");
    const button = node.querySelector("button");
    button.disabled = true;
    said.className = "said";
    try {
      const made = await api.post(path, body(Object.fromEntries(new FormData(node))));
      node.reset();
      said.classList.add("done");
      said.textContent = done(made);
      await refresh();
    } catch (failure) {
      said.textContent = failure.message;
    }
    button.disabled = false;
  });
}

const lines = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);
form("start", "/v1/streams", (given) => ({ ...given, outputs: lines(given.outputs).map((url) => ({ url })) }),
  (stream) => `${stream.name} was started.`);
form("submit", "/v1/jobs", (given) => ({ ...given, priority: Number(given.priority) }), (job) => `Job ${job.id} was queued.`);

find("login").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = event.target.elements.token;
  api.token.set(field.value.trim());
  field.value = "";
  enter();
});
find("forget").addEventListener("click", () => { api.token.forget(); location.reload(); });
enter();
