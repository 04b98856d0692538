// A browser refuses to start a worker in a page that it reads from a folder, and the search is a worker. This class
// replaces the worker by a hidden frame that runs the same script.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      this.inner = frame.contentWindow;
      window.addEventListener("message", ({ source, data }) => {
        if (source === this.inner) this.dispatchEvent(new MessageEvent("message", { data }));
      });
      this.inner.document.write(
        `<script>postMessage = (data) => parent.postMessage(data, "*")</scr` + `ipt><script src="${url}"></scr` + `ipt>`
      );
      this.inner.document.close();
      this.loaded = new Promise((resolve) => (this.inner.onload = resolve)); // write() removes earlier handlers
    }

    postMessage(data) {
      this.loaded.then(() => this.inner.dispatchEvent(new this.inner.MessageEvent("message", { data })));
    }
  };
}
