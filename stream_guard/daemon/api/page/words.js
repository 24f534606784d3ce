// States, counts and times in words for people.

const PHASES = {
  starting: ["Starting", "busy"],
  loading: ["Loading the engine", "busy"],
  connecting: ["Connecting to the source", "busy"],
  running: ["Running", "good"],
  gap: ["Source is away", "warn"],
  draining: ["Stopping", "busy"],
  ended: ["Ended", "busy"],
  failed: ["Failed", "bad"],
};
const OUTCOMES = {
  completed: ["Done", "good"],
  failed: ["Failed", "bad"],
  rejected: ["Rejected", "warn"],
  aborted: ["Cancelled", "busy"],
  killed_memory: ["Killed: out of memory", "bad"],
  killed_shutdown: ["Killed at a shutdown", "warn"],
};
const JOBS = { queued: ["Queued", "busy"], running: ["Running", "busy"], waiting: ["Waits to try again", "warn"] };
const ENGINES = {
  loading: ["Loading the engine", "warn"],
  building: ["Building the engine", "warn"],
  ready: ["Ready", "good"],
  failed: ["The engine failed", "bad"],
};
const ORIGINS = { config: "from the configuration", api: "started here", hook: "started by an ingest hook" };

export const phase = (name) => PHASES[name] || [name, "busy"];
export const outcome = (job) => (job.outcome ? OUTCOMES[job.outcome] : JOBS[job.phase]) || [job.phase, "busy"];
export const origin = (name) => ORIGINS[name] || name;
export const number = (value) => Math.round(value || 0).toLocaleString("en");
export const plain = (word) => String(word).replaceAll("_", " ");
export const total = (counts) => Object.values(counts || {}).reduce((sum, count) => sum + count, 0);
export const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString("en-GB");

export function health(state) {
  if (state.draining) return ["Shutting down", "warn"];
  if (state.ready) return ENGINES.ready;
  return state.engine === "ready" ? ["Not ready", "warn"] : ENGINES[state.engine] || [state.engine, "warn"];
}

export function reasons(counts) {
  return Object.entries(counts || {}).filter(([, count]) => count).map(([why, count]) => `${plain(why)} ${number(count)}`).join(", ");
}

export function duration(seconds) {
  if (seconds < 90) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} days`;
}

export function plural(count, one, many) {
  return `${number(count)} ${count === 1 ? one : many}`;
}

export function importance(kind) {
  if (["error", "unprotected", "limit"].includes(kind)) return "bad";
  return ["reconnect", "verdict"].includes(kind) ? "warn" : "";
}
