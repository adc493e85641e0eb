// Follows `lattice dev`: loads the page again after a change, and shows what is wrong with the sources.
(() => {
  let version = null;
  let box = null;

  function show(problem) {
    box?.remove();
    box = null;
    if (!problem) return;
    box = document.createElement("div");
    const root = box.attachShadow({ mode: "open" });
    root.innerHTML = `<style>
      div { position: fixed; inset: auto 0 0 0; max-height: 60vh; overflow: auto; z-index: 2147483647;
        box-sizing: border-box; padding: 1rem 1.5rem; background: #2b0f14; color: #ffdadf;
        border-top: 3px solid #ff5468; font: 14px/1.5 ui-monospace, Menlo, Consolas, monospace;
        box-shadow: 0 -8px 30px #0008 }
      b { font: 600 15px/1.5 system-ui, sans-serif; color: #fff }
      pre { margin: .5rem 0 0; white-space: pre-wrap; font: inherit }
      small { font: 12px system-ui, sans-serif; color: #e0a3ab }
      a { color: inherit }
    </style><div role="alert"><b></b><pre></pre>
    <small>The version before still answers. <a href="/.lattice">lattice dev</a></small></div>`;
    root.querySelector("b").textContent = problem.title;
    root.querySelector("pre").textContent = problem.text;
    document.documentElement.append(box);
  }

  const events = new EventSource("/.lattice/changes");
  events.onmessage = ({ data }) => {
    const found = JSON.parse(data);
    if (version !== null && found.version !== version) {
      events.close();
      location.reload();
      return;
    }
    version = found.version;
    show(found.version > 0 ? found.problem : null);
    if (found.version === 0) version = 0;
  };
  addEventListener("pagehide", () => events.close());
})();
