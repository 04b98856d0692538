"""A guest book: a web application in a machine. Its entries are lost when the machine stops."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from pydantic import BaseModel

PAGE = """<!doctype html>
<title>Guest book</title>
<ul id="book"></ul>
<input id="entry" placeholder="Write something"> <button onclick="sign(entry.value)">Sign</button>
<script>
function show(entries) {
  book.replaceChildren(...entries.map((text) => {
    const item = document.createElement("li");
    item.textContent = text;
    return item;
  }));
}

async function sign(text) {
  const headers = {"Content-Type": "application/json"};
  const answer = await fetch("/book", {method: "POST", headers, body: JSON.stringify({text})});
  show(await answer.json());
}

fetch("/book").then(async (answer) => show(await answer.json()));
</script>
"""

app = FastAPI()
book = ["Welcome"]


class Entry(BaseModel):
    """An entry of the guest book."""

    text: str


@app.get("/", response_class=HTMLResponse)
async def page() -> str:
    """Return the page. The script of the page requests the entries."""
    return PAGE


@app.get("/book")
async def entries() -> list[str]:
    """Return all entries of the guest book."""
    return book


@app.post("/book")
async def sign(entry: Entry) -> list[str]:
    """Add an entry to the guest book, and return all entries."""
    book.append(entry.text)
    return book
