// What the page asks of the server that it comes from.

let key = ""; // in memory only

/**
 * Send this API key from now on.
 *
 * @returns Whether a header can bear it.
 */
export function setKey(value) {
  key = value.trim();
  return /^[!-~]*$/.test(key);
}

/** The server's address, with the path that a proxy may have put in front of it. */
export const address = () => new URL(".", document.baseURI).href.replace(/\/$/, "");

export class Refusal extends Error {
  /**
   * @param {string} message What the server says.
   * @param {number} status The status of its answer.
   * @param {string?} field The field of the request that it is about, such as `documents[3].text`.
   */
  constructor(message, status, field = null) {
    super(message);
    this.status = status;
    this.field = field;
  }
}

export const info = (signal) => ask("info", { signal });

export const prune = (body, signal) => ask("v1/prune", {
  method: "POST",
  body: JSON.stringify(body),
  headers: { "Content-Type": "application/json" },
  signal,
});

async function ask(path, { headers = {}, ...request }) {
  const authorization = key ? { Authorization: `Bearer ${key}` } : {};
  let answer;
  try {
    answer = await fetch(path, { ...request, headers: { ...headers, ...authorization }, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal("The server cannot be reached.", 0);
  }
  const content = await answer.json().catch(() => null);
  if (!answer.ok) throw new Refusal(messageOf(answer, content), answer.status, content?.error?.field);
  if (content === null) throw new Refusal("The server’s answer cannot be read.", answer.status);
  return content;
}

function messageOf(answer, content) {
  const said = content?.error?.message ?? `The server answered with status ${answer.status}.`;
  const wait = Number(answer.headers.get("Retry-After"));
  return wait && !/try again in/i.test(said) ? `${said} Try again in ${wait} s.` : said;
}
