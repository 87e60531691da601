// The question on the page as code that does the same elsewhere.

/**
 * @param kind `langchain`, `llamaindex`, `python` or `curl`.
 * @param request The body that the page sends.
 * @param address The server's.
 * @param needsKey Whether the server asks for an API key.
 */
export function snippet(kind, request, address, needsKey) {
  const { query, documents, reorder, return_sentences: _, ...options } = request;
  const key = needsKey ? "# The API key is read from the environment variable PROVENCE_API_KEY.\n" : "";
  const rerank = reorder ? {} : { rerank: false };
  const titles = documents.some((document) => document.title) ? { title_key: "title" } : {};
  const fields = { model: address, ...rerank, ...titles, ...options };
  switch (kind) {
    case "langchain":
      return "from langchain_core.documents import Document\n"
        + "from langchain_provence import ProvenceCompressor\n\n"
        + `${key}compressor = ${call("ProvenceCompressor", fields)}\n`
        + `documents = ${listOf(documents, (one) => call("Document", { page_content: one.text, ...metadata(one) }))}\n`
        + `pruned = compressor.compress_documents(documents, query=${literal(query)})\n`;
    case "llamaindex":
      return "from llama_index.core.schema import NodeWithScore, TextNode\n"
        + "from llama_index_provence import ProvencePostprocessor\n\n"
        + `${key}postprocessor = ${call("ProvencePostprocessor", fields)}\n`
        + `nodes = ${listOf(documents, (one) => `NodeWithScore(node=${call("TextNode", { text: one.text, ...metadata(one) })})`)}\n`
        + `pruned = postprocessor.postprocess_nodes(nodes, query_str=${literal(query)})\n`;
    case "python":
      return "from provence_rag import Provence, PruningOptions\n\n"
        + `${key}model = Provence.from_pretrained(${literal(address)})\n`
        + `documents = ${listOf(documents, (one) => literal(one.text))}\n`
        + `passages = model.process(\n    ${literal(query)},\n    documents,\n`
        + (documents.some((one) => one.title) ? `    titles=[${documents.map((one) => literal(one.title ?? null)).join(", ")}],\n` : "")
        + (Object.keys(options).length ? `    options=${call("PruningOptions", options)},\n` : "")
        + (reorder ? "    reorder=True,\n" : "")
        + ")\n";
    default: {
      const header = needsKey ? '  -H "Authorization: Bearer $PROVENCE_API_KEY" \\\n' : "";
      return `curl ${address}/v1/prune \\\n  -H 'Content-Type: application/json' \\\n${header}`
        + `  --data-binary @- <<'JSON'\n${JSON.stringify(request, null, 2)}\nJSON\n`;
    }
  }
}

const metadata = (one) => (one.title ? { metadata: { title: one.title } } : {});

const call = (name, fields) =>
  `${name}(${Object.entries(fields).map(([field, value]) => `${field}=${literal(value)}`).join(", ")})`;

const listOf = (values, written) => `[\n${values.map((value) => `    ${written(value)},\n`).join("")}]`;

/** A value as Python writes it. */
function literal(value) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "number") return String(value);
  if (typeof value === "object") {
    return `{${Object.entries(value).map(([key, own]) => `${literal(key)}: ${literal(own)}`).join(", ")}}`;
  }
  // JSON's escapes are Python's, and U+2028 and its like stay what they are in both.
  return JSON.stringify(value);
}
