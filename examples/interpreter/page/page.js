"use strict";

// All text of a guest is inserted as text, never as HTML. A picture is decoded by the browser.
function show(section, kind, content) {
  if (kind === "png") {
    const picture = document.createElement("img");
    picture.src = `data:image/png;base64,${content}`;
    section.append(picture);
    return;
  }
  let last = section.lastElementChild;
  if (last === null || last.className !== kind) {
    last = document.createElement("pre");
    last.className = kind;
    section.append(last);
  }
  last.append(content);
}

async function ask(method, path, body, headers = {}) {
  const answer = await fetch(path, {method, body, headers});
  if (!answer.ok) {
    const text = await answer.text();
    let detail = text;
    try {
      detail = JSON.parse(text).detail;
    } catch {}
    throw new Error(typeof detail === "string" ? detail : text);
  }
  return answer;
}

async function attempt(action) {
  try {
    await action();
  } catch (error) {
    document.getElementById("status").textContent = error.message;
  }
}

async function runCell(text) {
  const section = document.createElement("section");
  document.getElementById("cells").append(section);
  show(section, "code", text);
  const headers = {"Content-Type": "application/json"};
  const answer = await ask("POST", "/cell", JSON.stringify({code: text}), headers);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const {done, value} = await reader.read();
    if (done) break;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines)
      for (const [kind, content] of Object.entries(JSON.parse(line)))
        show(section, kind, content);
  }
}

function setRunning(running) {
  document.getElementById("run").disabled = running;
  document.getElementById("interrupt").disabled = !running;
}

document.getElementById("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const code = document.getElementById("code");
  const text = code.value;
  code.value = "";
  attempt(async () => {
    setRunning(true);
    try {
      await runCell(text);
    } finally {
      setRunning(false);
    }
  });
});

document.getElementById("code").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.shiftKey) {
    event.preventDefault();
    document.getElementById("form").requestSubmit(document.getElementById("run"));
  }
});

document.getElementById("interrupt").addEventListener("click", () =>
  attempt(() => ask("POST", "/interrupt")));

document.getElementById("file").addEventListener("change", (event) =>
  attempt(async () => {
    const [file] = event.target.files;
    await ask("PUT", `/files/${encodeURIComponent(file.name)}`, file);
    document.getElementById("status").textContent = `The file is /data/${file.name}.`;
  }));

attempt(async () => {
  await ask("POST", "/session");
  document.getElementById("status").textContent = "Python is ready.";
  setRunning(false);
});
