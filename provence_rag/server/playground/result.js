// What came back, as text with its sentences marked.

const passages = document.getElementById("passages");
const summary = document.getElementById("summary");
const notices = document.getElementById("warnings");
const total = document.getElementById("total");

const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
const sum = (values) => values.reduce((total, value) => total + value, 0);

/** Write words into a live region. What has not changed is not read again. */
export function say(region, words) {
  if (region.textContent !== words) region.textContent = words;
}

/**
 * Show an answer.
 *
 * @param answer What the server returns: `results`, and `warnings` if there are any.
 * @param view What to show of it: `scores`, `onlyKept`; `unit` is what its passages are cut into.
 */
export function show({ results, warnings = [] }, view) {
  const before = sum(results.map((passage) => passage.num_tokens));
  const after = sum(results.map((passage) => passage.num_kept_tokens));
  const sentences = results.flatMap((passage) => passage.sentences);
  const kept = sentences.filter((sentence) => sentence.kept).length;
  const share = before ? Math.round((100 * (before - after)) / before) : 0;
  const words = `${kept} of ${count(sentences.length, view.unit)} kept, ${before.toLocaleString("en")} → `
    + `${count(after, "token")} (${share} % removed)`;
  say(summary, words);
  showWarnings(warnings.map(({ message }) => `Warning: ${message}.`));
  total.hidden = !before;
  total.firstElementChild.style.width = `${before ? (100 * after) / before : 0}%`;
  passages.replaceChildren(...results.map((passage) => articleOf(passage, view)));
}

/** What is left of passages, for a prompt. */
export const prunedText = (results) => results.map((passage) => passage.text).filter(Boolean).join("\n\n");

function showWarnings(messages) {
  const shown = [...notices.children].map((notice) => notice.textContent);
  if (messages.join("\n") === shown.join("\n")) return;
  notices.replaceChildren(...messages.map((message) => element("p", message, "notice")));
}

function articleOf(passage, view) {
  const article = document.createElement("article");
  const kept = passage.sentences.filter((sentence) => sentence.kept).length;
  const figures = [
    passage.score === null ? "" : `score ${passage.score.toFixed(3)}`,
    `${kept} of ${count(passage.sentences.length, view.unit)}`,
    `${passage.num_tokens.toLocaleString("en")} → ${count(passage.num_kept_tokens, "token")}`,
  ];
  const heading = element("h3", passage.title ?? `Document ${passage.index + 1}`);
  heading.dir = "auto";
  const line = element("p", "", "figures");
  line.append(...figures.filter(Boolean).map((figure) => element("span", figure)));
  article.append(heading, line);
  if (passage.kept_whole) article.append(element("p", `Not pruned: ${passage.kept_whole}`, "notice"));
  article.append(view.onlyKept ? prunedOf(passage) : markedOf(passage, view));
  return article;
}

function prunedOf(passage) {
  const body = passage.text
    ? element("div", passage.text, "pruned")
    : element("p", "Nothing of this document is kept.", "muted");
  body.dir = "auto";
  return body;
}

function markedOf(passage, { scores }) {
  const body = element("div", "", "text");
  body.dir = "auto";
  const characters = Array.from(passage.document); // offsets count characters, not UTF-16 units
  let end = passage.sentences.length ? passage.sentences[0].start : 0;
  for (const sentence of passage.sentences) {
    if (sentence.start > end) body.append(characters.slice(end, sentence.start).join(""));
    const piece = element(sentence.kept ? "mark" : "del", characters.slice(sentence.start, sentence.end).join(""));
    body.append(piece);
    if (sentence.score !== null) {
      piece.title = `score ${digits(sentence.score)}`;
      if (scores) body.append(element("span", digits(sentence.score), "score"));
    }
    end = sentence.end;
  }
  if (!passage.sentences.length) body.append(element("span", "This document is blank.", "muted"));
  return body;
}

/** A probability with as many digits as tell it from others: 0.93, 0.008. */
function digits(share) {
  if (share < 0.0005) return "<0.001";
  if (share > 0.9995) return ">0.999";
  return share.toFixed(share < 0.1 || share > 0.99 ? 3 : 2);
}

function element(name, text, kind) {
  const made = document.createElement(name);
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
}
