// Watches what a page asks for and what the browser says about it.

// Runs in each document before anything of it: keeps what the content security policy blocks.
export const WATCH_POLICY = () => {
  globalThis.blocked = [];
  addEventListener("securitypolicyviolation", ({ effectiveDirective, blockedURI, sourceFile, sample }) => {
    const where = [sourceFile, sample].filter(Boolean).join(" ");
    globalThis.blocked.push(`${effectiveDirective} blocks ${blockedURI} ${where}`.trim());
  });
};

const isElsewhere = (url, origin) => !url.startsWith("data:") && new URL(url).origin !== origin;

// Begins to watch a page of `origin`. Returns a function that takes the findings since it was called last.
export function watch(page, origin) {
  let findings = [];
  const add = (kind, detail) => findings.push({ kind, detail });
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) {
      add("console", `${message.text()} (${message.location().url})`);
    }
  });
  page.on("pageerror", (error) => add("console", error.message));
  page.on("request", (request) => {
    if (isElsewhere(request.url(), origin)) {
      add("elsewhere", request.url());
    }
  });
  page.on("requestfailed", (request) => {
    // The browser itself aborts what it still loads, such as the icon, when a key opens the next document.
    const reason = request.failure()?.errorText;
    if (reason !== "net::ERR_ABORTED") {
      add("failed", `${request.url()}: ${reason}`);
    }
  });
  page.on("response", (response) => {
    if (response.status() >= 400) {
      add("failed", `${response.url()}: status ${response.status()}`);
    }
  });
  return async () => {
    const blocked = await page.evaluate(() => globalThis.blocked.splice(0));
    blocked.forEach((detail) => add("blocked", detail));
    const taken = findings;
    findings = [];
    return taken;
  };
}
