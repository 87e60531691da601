// The page: from what is typed to a request, and from its answer to what is shown.

import * as documents from "./documents.js";
import { examples } from "./examples.js";
import * as result from "./result.js";
import * as server from "./server.js";
import { snippet } from "./snippets.js";

const PAUSE = 150; // milliseconds without a change before the server is asked again

const $ = (id) => document.getElementById(id);
const sigmoid = (logit) => 1 / (1 + Math.exp(-logit));

let model = null; // what the server says about it
let described = null; // a promise of that
let needsKey = false;
let asked = null; // question and documents
let shown = null; // the answer that is shown, and the request that it answers
let numSentences = null; // of the documents that were asked, once known
let sentenceScores = []; // theirs, ascending
let answers = new Map(); // outcome of options -> the server's answer to the question and the documents
let running = null; // stops the request in progress
let timer = 0;
let endCopied = () => {}; // takes back what the last click on a button to copy has shown

// --- options -------------------------------------------------------------------------------------------

/** The threshold that the slider shows: its ends are 0 and 1, and it moves by odds between them. */
function threshold() {
  const [value, min, max, step] = ["value", "min", "max", "step"].map((name) => Number($("threshold")[name]));
  if (value < min + step / 2) return 0;
  if (value > max - step) return 1; // the last step may end before the maximum
  const share = sigmoid(value);
  return Number(share.toPrecision(share > 0.9 ? 4 : 2));
}

function position(share) {
  const { min, max } = $("threshold");
  const logit = Math.log(share) - Math.log(1 - share);
  return Math.min(Math.max(logit, Number(min)), Number(max));
}

/** Move the slider to a share, and its first step with it, so that it stands on a step. */
function putThresholdAt(share) {
  const slider = $("threshold");
  const steps = Math.floor((position(share) - Number(slider.min)) / Number(slider.step));
  slider.min = position(share) - steps * Number(slider.step);
  slider.value = position(share);
}

const rule = () => document.querySelector("input[name=rule]:checked").value;

/** The options that differ from the server's defaults, by their names in a request. */
function options() {
  const chosen = {};
  if (rule() === "threshold") chosen.threshold = threshold();
  if (rule() === "budget") chosen.max_tokens = wholeNumber($("budget"));
  if (rule() === "dynamic" && $("promise").value) chosen.keep_answers = Number($("promise").value);
  if (wholeNumber($("min_sentences")) > 0) chosen.min_sentences = wholeNumber($("min_sentences"));
  for (const name of ["keep_title", "keep_headings"]) if ($(name).checked) chosen[name] = true;
  if (!$("keep_together").checked) chosen.keep_together = false;
  if ($("reorder").checked && model?.can_rank !== false) chosen.reorder = true;
  return chosen;
}

/** What a field for a whole number holds; null if that is something else, or too small. */
function wholeNumber(field) {
  const value = field.valueAsNumber;
  return Number.isSafeInteger(value) && value >= Number(field.min) ? value : null;
}

/**
 * Say next to each number that cannot be used what is allowed.
 *
 * @returns The first such field.
 */
function checkNumbers() {
  const fields = [$("budget"), $("min_sentences")];
  const isWrong = (field) => wholeNumber(field) === null && (field.id !== "budget" || rule() === "budget");
  for (const field of fields) {
    field.setAttribute("aria-invalid", String(isWrong(field)));
    result.say($(`${field.id}-problem`), isWrong(field) ? `Enter a whole number, at least ${field.min}.` : "");
  }
  return fields.find(isWrong);
}

/**
 * What the options amount to: thresholds with no sentence's score between them keep the same sentences, so the
 * server is asked once for all of them.
 */
function outcome(chosen = options()) {
  const { threshold: share, ...others } = chosen;
  if (share === undefined || !sentenceScores.length) return JSON.stringify({ share, ...others });
  return JSON.stringify({ reached: sentenceScores.filter((score) => score >= share).length, ...others });
}

function showThreshold() {
  $("threshold-value").textContent = threshold();
  $("threshold").setAttribute("aria-valuetext", threshold());
}

/** Marks under the slider where the sentences' scores are. */
function showScores() {
  const { min, max } = $("threshold");
  const marks = shown.results.flatMap((passage) => passage.sentences).filter(({ score }) => score !== null);
  $("scores").replaceChildren(...marks.map(({ score, kept }) => {
    const mark = document.createElement("i");
    mark.className = kept ? "kept" : "";
    mark.style.left = `${(100 * (position(score) - min)) / (max - min)}%`;
    return mark;
  }));
}

// --- asking --------------------------------------------------------------------------------------------

async function run() {
  const query = $("query").value.trim();
  const given = documents.read();
  $("query").setAttribute("aria-invalid", String(!query));
  documents.mark(() => !given.length);
  if (!query || !given.length) {
    report(query ? "Add a document first." : "Ask a question first.");
    (query ? document.querySelector("#documents .text") : $("query")).focus();
    return;
  }
  if (!server.setKey($("key").value)) {
    refuseKey("This is no API key: it has spaces, or characters that are not ASCII.");
    return;
  }
  $("key").setAttribute("aria-invalid", "false");
  report("");
  const wrong = checkNumbers();
  if (wrong) {
    if (wrong.closest("details")) wrong.closest("details").open = true;
    wrong.focus();
    return;
  }
  await describe(); // it may have been waiting for the key
  asked = { query, documents: given };
  answers = new Map();
  numSentences = null;
  sentenceScores = [];
  await update();
}

/** Show what the options amount to, and ask the server where that is not known yet. */
async function update() {
  clearTimeout(timer);
  running?.abort();
  running = null;
  if (!asked || checkNumbers()) {
    busy(false);
    return;
  }
  const chosen = options();
  const request = { ...asked, ...chosen };
  const known = answers.get(outcome());
  if (known) {
    busy(false);
    showAnswer(known, request);
    return;
  }
  const own = running = new AbortController();
  busy(true);
  try {
    const answer = await server.prune(request, own.signal);
    if (own !== running) return; // an aborted answer may still have come
    report("");
    // A budget splits long sentences, so its scores are not those of the other rules.
    if (chosen.max_tokens === undefined) {
      const all = answer.results.flatMap((passage) => passage.sentences.map((sentence) => sentence.score));
      numSentences = all.length;
      sentenceScores = all.filter((score) => score !== null).sort((a, b) => a - b);
    }
    answers.set(outcome(chosen), answer); // others may have been chosen since
    showAnswer(answer, request);
  } catch (error) {
    if (error.name === "AbortError" || own !== running) return;
    reportRefusal(error);
  }
  busy(false);
}

/** Ask again a little after the last of several changes. */
function updateSoon() {
  clearTimeout(timer);
  if (checkNumbers() || answers.has(outcome())) update();
  else timer = setTimeout(update, PAUSE);
}

function busy(isBusy) {
  $("result").classList.toggle("busy", isBusy);
  $("result").setAttribute("aria-busy", String(isBusy));
}

function report(words) {
  $("problem").textContent = words;
}

/** Show why the server has not answered, and mark what it is about. */
function reportRefusal({ status, field, message }) {
  if (status === 401) {
    refuseKey($("key").value ? "The server does not accept this API key." : "Enter the API key: this server needs a key.");
    return;
  }
  if (status === 403) askForKey();
  const [, number] = /^documents\[(\d+)\]/.exec(field) ?? [];
  if (field === "query") $("query").setAttribute("aria-invalid", "true");
  if (number) documents.mark((own) => own === Number(number));
  // The server counts from 0, and knows nothing of blank documents.
  report(number ? message.replace(`documents[${number}]`, `Document ${documents.position(Number(number))}`) : message);
}

function refuseKey(words) {
  askForKey();
  $("key").setAttribute("aria-invalid", "true");
  report(words);
}

function askForKey() {
  needsKey = true;
  $("key-field").hidden = false;
  $("key").focus();
}

// --- showing -------------------------------------------------------------------------------------------

function showAnswer(answer, request) {
  shown = { request, ...answer };
  show();
}

function show() {
  if (!shown) return;
  const number = shown.results.reduce((total, passage) => total + passage.sentences.length, 0);
  // A sentence that is longer than the budget comes back in parts.
  const unit = shown.request.max_tokens === undefined || number === numSentences ? "sentence" : "part";
  result.show(shown, { unit, scores: $("show-scores").checked, onlyKept: $("hide-dropped").checked });
  showScores();
  showSnippet();
  $("view").hidden = $("code").hidden = false;
}

function showSnippet() {
  const kind = document.querySelector("input[name=kind]:checked").value;
  $("snippet").textContent = snippet(kind, shown.request, server.address(), needsKey);
}

async function copy(text, button) {
  const isCopied = await write(text);
  endCopied();
  const words = button.textContent;
  $("copied").textContent = isCopied ? "Copied." : "Copying failed.";
  button.textContent = isCopied ? "Copied" : "Copying failed";
  const shown = setTimeout(() => endCopied(), 1500);
  endCopied = () => {
    clearTimeout(shown);
    button.textContent = words;
    $("copied").textContent = "";
  };
}

async function write(text) {
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch { /* not allowed: there is another way */ }
  }
  // Pages without TLS have no clipboard of their own, unless they come from this machine.
  const field = document.createElement("textarea");
  field.value = text;
  field.className = "hidden-visually";
  document.body.append(field);
  const focused = document.activeElement;
  field.select();
  const isCopied = document.execCommand("copy");
  field.remove();
  focused?.focus();
  return isCopied;
}

/** Show what the server says about its model, once. */
const describe = () => (described ??= describeServer());

async function describeServer() {
  try {
    const about = await server.info();
    model = about.model;
    $("model").textContent = `${model.name} · provence-rag ${about.version}`;
    $("reorder").closest("label").hidden = !model.can_rank;
    $("options").querySelector("fieldset").hidden = !model.can_prune;
    putThresholdAt(model.threshold);
    for (const promise of model.promises) {
      const isDefault = promise === model.keep_answers;
      const words = `${Math.round(promise * 1000) / 10} % of answers${isDefault ? " (default)" : ""}`;
      $("promise").append(new Option(words, isDefault ? "" : promise, isDefault, isDefault));
    }
    if (model.keep_answers !== null) $("promise").options[0].remove();
    $("promise").hidden = $("promise").options.length < 2;
  } catch (error) {
    described = null;
    if (error.status === 401 || error.status === 403) askForKey();
    else report(error.message);
  }
  showThreshold();
}

// --- events --------------------------------------------------------------------------------------------

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  run();
});
$("form").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) run();
});
$("add").addEventListener("click", () => documents.add().focus());
for (const button of document.querySelectorAll("[data-example]")) {
  button.addEventListener("click", () => {
    const example = examples[button.dataset.example];
    $("query").value = example.query;
    documents.write(example.documents);
    run();
  });
}
$("options").addEventListener("submit", (event) => event.preventDefault());
$("options").addEventListener("input", (event) => {
  // Who moves the slider, fills in the budget or chooses a promise means that rule.
  const rules = { threshold: "by-threshold", budget: "by-budget", promise: "by-rule" };
  if (event.target.id in rules) $(rules[event.target.id]).checked = true;
  showThreshold();
  updateSoon();
});
for (const id of ["show-scores", "hide-dropped"]) $(id).addEventListener("change", show);
for (const choice of document.querySelectorAll("input[name=kind]")) choice.addEventListener("change", showSnippet);
$("copy-text").addEventListener("click", () => copy(result.prunedText(shown.results), $("copy-text")));
$("copy-code").addEventListener("click", () => copy($("snippet").textContent, $("copy-code")));

documents.acceptFiles(report);
documents.add();
describe();
