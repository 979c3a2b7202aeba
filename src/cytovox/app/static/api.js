// Asks the server. Every call is a POST with JSON, so that names of files need no escaping.

export async function call(name, body = {}) {
  let answer;
  try {
    answer = await fetch(`/api/${name}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
  } catch {
    throw new Error("The server does not answer: start cytovox app again. Runs go on without it.");
  }
  if (answer.headers.get("Content-Type") === "image/png") return answer.blob();
  if (!answer.ok && answer.headers.get("Content-Type") !== "application/json") {
    throw new Error(await answer.text());
  }
  const value = await answer.json();
  if (!answer.ok) throw new Error(value.error);
  return value;
}

/**
 * Do one thing at a time: while it is done, only the latest wish is kept.
 *
 * So a slider that moves asks as often as answers come, and no answer is old.
 */
export function latest(work) {
  let running = false;
  let waiting = null;
  return async (...wish) => {
    waiting = wish;
    if (running) return;
    running = true;
    try {
      while (waiting) {
        const next = waiting;
        waiting = null;
        await work(...next);
      }
    } finally {
      running = false;
    }
  };
}
