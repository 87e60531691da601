// The documents of a question, as they are typed, pasted, or read from files.

const list = document.getElementById("documents");
const template = document.getElementById("document");
const picker = document.getElementById("files");

const withText = () => [...list.children].filter((item) => entryOf(item).text.trim());

/** The documents that hold text, as the server takes them. */
export const read = () => withText().map(entryOf);

/** Which one on the page, from 1, is the document with a number, from 0, among those that hold text. */
export const position = (number) => [...list.children].indexOf(withText()[number]) + 1;

/** Put documents into the list, in place of the others. */
export function write(documents) {
  list.replaceChildren();
  documents.forEach(add);
}

/**
 * Add a document after the others, or in place of the last one if that is blank.
 *
 * @returns Its text field.
 */
export function add({ title = "", text = "" } = {}) {
  const last = list.lastElementChild;
  if (text && last && !entryOf(last).text && !entryOf(last).title) last.remove();
  const item = template.content.firstElementChild.cloneNode(true);
  item.querySelector(".title").value = title;
  item.querySelector(".text").value = text;
  item.querySelector(".remove").addEventListener("click", () => remove(item));
  list.append(item);
  number();
  return item.querySelector(".text");
}

/**
 * Show which documents are wrong.
 *
 * @param isWrong Called with the number of each, from 0, among those that hold text; -1 for blank ones.
 */
export function mark(isWrong) {
  const given = withText();
  for (const item of list.children) {
    item.querySelector(".text").setAttribute("aria-invalid", String(isWrong(given.indexOf(item))));
  }
}

/**
 * Let people choose and drop files.
 *
 * @param report Called with what went wrong, in words, or with "" where nothing did.
 */
export function acceptFiles(report) {
  picker.addEventListener("change", async () => {
    await take([...picker.files], report);
    picker.value = ""; // so that the same file can be chosen again
  });
  const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dropping");
  });
  document.addEventListener("drop", (event) => {
    document.body.classList.remove("dropping");
    if (!holdsFiles(event)) return; // text dropped into a field
    event.preventDefault();
    take([...event.dataTransfer.files], report);
  });
}

async function take(files, report) {
  const refused = [];
  for (const file of files) {
    const text = await textOf(file);
    if (text === null) refused.push(file.name);
    else add({ title: file.name.replace(/\.[^.]+$/, ""), text });
  }
  report(refused.length ? `Not a text file in UTF-8: ${refused.join(", ")}` : "");
}

/** The text of a file; null for a file that holds something else. */
async function textOf(file) {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
    return text.includes("\0") || !text.trim() ? null : text;
  } catch {
    return null;
  }
}

function remove(item) {
  const neighbour = item.nextElementSibling ?? item.previousElementSibling;
  item.remove();
  const field = neighbour ? neighbour.querySelector(".text") : add();
  number();
  field.focus();
}

function entryOf(item) {
  const title = item.querySelector(".title").value.trim();
  const text = item.querySelector(".text").value;
  return title ? { title, text } : { text };
}

function number() {
  [...list.children].forEach((item, index) => {
    item.querySelector(".title").setAttribute("aria-label", `Title of document ${index + 1}`);
    item.querySelector(".text").setAttribute("aria-label", `Text of document ${index + 1}`);
    item.querySelector(".remove").setAttribute("aria-label", `Remove document ${index + 1}`);
  });
}
