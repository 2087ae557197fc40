"""What the documents promise about the code: every refusal code is explained, every file they name is there."""
import pathlib
import re

TOP = pathlib.Path(__file__).resolve().parents[2]


def sources():
    return "\n".join(p.read_text() for p in sorted(TOP.glob("src/*/*.c")))


def test_every_refusal_code_is_explained():
    """Breaks when a code can reach a person who then finds nothing about it."""
    text = (TOP / "docs/refusals.md").read_text()
    codes = set(re.findall(r'bm_refuse\(\s*[\w>.&-]+,\s*BM_\w+,\s*"([a-z-]+)"', sources()))
    assert len(codes) > 50
    assert sorted(c for c in codes if f"`{c}`" not in text) == []


def test_documents_name_only_what_is_there():
    """Breaks when a test or document that the docs point at is renamed or was never written."""
    missing = []
    for doc in [TOP / "README.md", *TOP.glob("docs/*.md")]:
        text = doc.read_text()
        names = re.findall(r"`((?:tests|src|docs|device|scripts)/[\w./-]+\.\w+)`", text)
        names += [f"docs/{n}" if doc.parent.name == "docs" else n for n in re.findall(r"\]\(([\w./-]+\.md)\)", text)]
        missing += [f"{doc.name}: {n}" for n in names if not (TOP / n).exists()]
    assert missing == []
