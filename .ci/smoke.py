"""Run by .ci/run in an environment that holds the wheel and nothing else of the project."""

import re
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import provence_rag

HEAVY = ("torch", "onnxruntime", "transformers", "langchain_core", "llama_index")
DOCUMENT = "The Eiffel Tower stands in Paris. It was finished in 1889. My cat sleeps all day."

loaded = [name for name in HEAVY if name in sys.modules]
assert not loaded, f"import provence_rag imported {loaded}"
assert find_spec("torch") is None, "the base install must not need torch"

model = provence_rag.Provence.from_pretrained()
(passage,) = model.process("When was the Eiffel Tower finished?", [DOCUMENT])
assert "1889" in passage.text, passage.text
assert "cat" not in passage.text, passage.text

for extra in ("langchain", "llama-index", "sentence-transformers"):
    adapter, message = f"{extra.replace('-', '_')}_provence", ""
    try:
        import_module(adapter)
    except provence_rag.MissingExtraError as error:
        message = str(error)
    expected = rf"pip install .*\[{extra}\]"
    assert re.search(expected, message), message or f"{adapter} was imported without the extra"

command = [sys.argv[1], "prune", "--query", "When was it finished?", "--plain", "-"]
done = subprocess.run(command, input=DOCUMENT, capture_output=True, encoding="utf-8", check=True)
assert "1889" in done.stdout, done

done = subprocess.run([sys.argv[1], "serve"], capture_output=True, encoding="utf-8")
assert done.returncode == 2, done
assert re.search(r"pip install .*\[server\]", done.stderr), done.stderr

command = [sys.argv[1], "inspect", str(Path(provence_rag.__file__).parent / "models" / "mini")]
done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
assert "cc-by-sa-4.0" in done.stdout, done
print(f"wheel {provence_rag.__version__}: ok")
