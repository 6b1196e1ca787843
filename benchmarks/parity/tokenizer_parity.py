"""Token ids of the C++ and the web runtime compared with the reference, for the tokenizers of each family of encoders.

    make cpp web && python -m benchmarks.parity.tokenizer_parity --bundle out/support.bundle --data-root DATA --random 100000

The tokenizers are those of the tests: small ones with the parts that published encoders have. ``--tokenizer`` adds published ones.
Each is compared on every code point, within a word and alone, on all texts of the data root, and on random strings of mixed scripts.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from tokenizers import Tokenizer

from benchmarks.parity.cpp_parity import code_points, random_strings, real_texts
from crosstune_export.runtime.tokenization import TextTokenizer
from tests.fixtures import c_library, node_runtime
from tests.fixtures.edited_bundle import with_tokenizer
from tests.fixtures.golden_texts import character_tokenizer
from tests.fixtures.subword_tokenizers import BPE, UNIGRAM, tokenizer_of

#: WordPiece whose ids show each character.
WORDPIECE = {"BERT uncased": {"lowercase": True}, "BERT cased": {"lowercase": False}}
WINDOW = 5_000
LIBRARY = Path("build/cpp/release/libcrosstune.so")
WEB_PACKAGE = Path("runtime_web").resolve()


def link_package(folder: Path) -> None:
    """Let programs in a folder import the web package of the checkout."""
    (folder / "node_modules").mkdir()
    (folder / "node_modules" / "crosstune-web").symlink_to(WEB_PACKAGE)
    (folder / "package.json").write_text('{"private": true, "type": "module"}\n', "utf-8")


def open_node(folder: Path) -> node_runtime.NodeRuntime:
    """Node with the package of the checkout."""
    link_package(folder)
    return node_runtime.NodeRuntime(folder)


def tokenizers_of(arguments: argparse.Namespace) -> Iterator[tuple[str, Tokenizer]]:
    """Names and tokenizers of the chosen families and files."""
    for name in filter(None, arguments.families.split(",")):
        yield name, character_tokenizer(**WORDPIECE[name]) if name in WORDPIECE else tokenizer_of(name)
    for path in arguments.tokenizer:
        tokenizer = Tokenizer.from_file(str(path))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        yield path.resolve().parent.name, tokenizer


def differing(
    cpp: c_library.Loaded, web: node_runtime.Loaded, reference: TextTokenizer, texts: Iterable[str]
) -> dict[str, int]:
    """How many texts there are, and for how many each runtime has other ids."""
    count = cpp_wrong = web_wrong = 0
    source = iter(texts)
    while window := list(islice(source, WINDOW)):
        expected = [list(row.ids) for row in reference.rows(window)]
        count += len(window)
        cpp_wrong += sum(cpp.tokenize(text.encode())[0] != ids for text, ids in zip(window, expected, strict=True))
        web_wrong += sum(row[0] != ids for row, ids in zip(web.tokenize(window), expected, strict=True))
    return {"texts": count, "differing_cpp": cpp_wrong, "differing_web": web_wrong}


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True, help="bundle folder; its tokenizer is exchanged")
    parser.add_argument("--data-root", type=Path, required=True, help="folder with a folder for each dataset")
    parser.add_argument("--random", type=int, default=100_000, help="number of random strings for each family")
    families = ",".join([*WORDPIECE, *BPE, *UNIGRAM])
    parser.add_argument("--families", default=families, help=f"families of encoders; default: {families}")
    parser.add_argument(
        "--tokenizer",
        type=Path,
        action="append",
        default=[],
        help="tokenizer.json of an encoder, named by its folder; repeat for more",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("benchmarks/results/tokenizer_parity.json"), help="JSON file to write"
    )
    arguments = parser.parse_args()
    report = json.loads(arguments.output.read_bytes()) if arguments.output.exists() else {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        library, node = c_library.Library(str(LIBRARY.resolve())), open_node(folder)
        for number, (name, tokenizer) in enumerate(tokenizers_of(arguments)):
            bundle, reference = with_tokenizer(arguments.bundle, folder / f"{number}.bundle", tokenizer)
            cpp, web = library.load(bundle), node.load(bundle)
            report[name] = {}
            for kind, texts in (
                ("every code point", code_points()),
                ("texts of the data root", real_texts(arguments.data_root)),
                ("random strings", random_strings(arguments.random)),
            ):
                report[name][kind] = differing(cpp, web, reference, texts)
                print(json.dumps({name: {kind: report[name][kind]}}), flush=True)
            web.close()
            arguments.output.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", "utf-8")
        node.close()


if __name__ == "__main__":
    main()
