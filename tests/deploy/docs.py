"""Checks the documentation: every link leads somewhere, every page is in the book, JSON and YAML can be read, and the values that are
shown for the chart are values that it takes. Commands and configuration are parsed by `src/docs.rs`, queries by
`tests/kql/check.js`.

usage: docs.py <folder of tools>
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

import yaml

PROJECT = pathlib.Path(__file__).parents[2]
DOCS = PROJECT / "docs"
TOOLS = pathlib.Path(sys.argv[1])
PAGES = [*sorted(PROJECT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]


def anchors(page):
    """Of a page's headings, as GitHub and mdBook make them."""
    headings = re.findall(r"^#+ (.+)$", without_code(page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def without_code(text):
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def links():
    problems = []
    for page in PAGES:
        text = re.sub(r"`[^`]*`", "", without_code(page.read_text()))
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if target.startswith(("http://", "https://", "mailto:")):
                continue
            path, _, anchor = target.partition("#")
            linked = (page.parent / path).resolve() if path else page
            if not linked.exists():
                problems.append(f"{page.name}: {target} leads nowhere")
            elif anchor and anchor not in anchors(linked):
                problems.append(f"{page.name}: {target}: there is no such heading")
    return problems


def book():
    listed = set(re.findall(r"\]\(([\w-]+\.md)\)", (DOCS / "SUMMARY.md").read_text()))
    there = {page.name for page in DOCS.glob("*.md")} - {"SUMMARY.md"}
    return [f"docs/{name} is not in SUMMARY.md, or not there" for name in listed ^ there]


def blocks(language):
    for page in PAGES:
        for block in re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
            yield page.name, block


def readable():
    problems = []
    for page, block in blocks("json"):
        # An ellipsis inside a text is fine, one instead of something is not.
        try:
            json.loads(block)
        except ValueError as error:
            problems.append(f"{page}: {error}: {block}")
    count = 0
    for page, block in blocks("yaml"):
        values = yaml.safe_load(block)
        count += 1
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(block)
            file.flush()
            command = [TOOLS / "bin/helm", "template", "contoso", PROJECT / "deploy/helm/cmsync", "--values", file.name, "--kube-version", "1.34.0"]
            rendered = subprocess.run(command, capture_output=True, text=True)
        if rendered.returncode or values["existingSecret"] not in rendered.stdout:
            problems.append(f"{page}: the chart does not take these values: {rendered.stderr}")
    return problems if count else ["no values for the chart are shown"]


def main():
    problems = [*links(), *book(), *readable()]
    print(f"{len(PAGES)} pages")
    return "\n".join(problems) or None


if __name__ == "__main__":
    sys.exit(main())
