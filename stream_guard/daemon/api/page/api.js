// Asks the daemon: JSON, pictures, and the stream of events. The token lives in this tab's sessionStorage.

const PLACE = "stream-guard-token";
export const token = {
  get: () => sessionStorage.getItem(PLACE) || "",
  set: (text) => sessionStorage.setItem(PLACE, text),
  forget: () => sessionStorage.removeItem(PLACE),
};

export class Failure extends Error {
  constructor(status, words) {
    super([words.message, words.what_to_do].filter(Boolean).join(". "));
    this.status = status;
  }
}

function headers(more) {
  return token.get() ? { ...more, Authorization: `Bearer ${token.get()}` } : more;
}

async function asked(path, options = {}) {
  const signal = options.signal || AbortSignal.timeout(15000);
  const answer = await fetch(path, { ...options, signal, headers: headers(options.headers || {}), cache: "no-store" }).catch(() => {
    throw new Failure(0, { message: "The daemon does not answer" });
  });
  if (answer.ok || (path === "/readyz" && answer.status === 503)) return answer;
  const body = await answer.json().catch(() => ({}));
  throw new Failure(answer.status, body.error || { message: `The daemon answered ${answer.status}` });
}

export const get = async (path) => (await asked(path)).json();
export const remove = async (path) => (await asked(path, { method: "DELETE" })).json();

export async function post(path, body) {
  const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  return (await asked(path, options)).json();
}

export async function picture(path) {
  return URL.createObjectURL(await (await asked(path)).blob());
}

// Calls `tell` with each event, from number `since` on, until the connection ends. Not EventSource: it sends no token.
export async function listen(since, opened, tell) {
  const ending = new AbortController();
  const answer = await asked("/v1/events", { signal: ending.signal, headers: since ? { "Last-Event-ID": String(since) } : {} });
  opened();
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const line = block.split("\n").find((text) => text.startsWith("data: "));
      if (line) tell(JSON.parse(line.slice(6)));
    }
  }
}
