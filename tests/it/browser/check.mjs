// Visits pages in Chromium and prints a line of JSON for each view: a page of a site in one look, or by keyboard. Reads
// a description of the job from standard input; `Job` in job.rs has its fields. The argument is the folder in which npm
// has installed what it imports.

import { accessSync, constants, mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { delimiter, join } from "node:path";
import { text } from "node:stream/consumers";
import { accessibility } from "./accessibility.mjs";
import { operateFilters, signIn, signOut, walk } from "./keyboard.mjs";
import { deadLinks } from "./links.mjs";
import { belowFirstScreen, overlaps, wider } from "./measure.mjs";
import { WATCH_POLICY, watch } from "./watch.mjs";

// The first screen, in which a page has to answer.
const DESKTOP = { width: 1280, height: 800 };

// A taller screenshot of a whole page shows more rows of one table, and takes seconds.
const TALLEST_SCREENSHOT = 4_000;

// The timeout of each step in milliseconds: many times as long as on an idle machine, since the tests may share two
// cores with a build.
const DEADLINE = 60_000;

const job = JSON.parse(await text(process.stdin));
const modules = createRequire(join(process.argv[2], "package.json"));
const { chromium } = modules("playwright-core");
const { source: axe } = modules("axe-core");

// Returns the path of a program.
function inPath(program) {
  const path = (process.env.PATH ?? "").split(delimiter).map((folder) => join(folder, program));
  const found = path.find((file) => {
    try {
      accessSync(file, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  if (found === undefined) {
    throw new Error(`no \`${program}\` in PATH: install it, such as by \`tests/tools/packages\` as root`);
  }
  return found;
}

function report(site, page, view, findings) {
  process.stdout.write(`${JSON.stringify({ dataset: site.dataset, page: page.name, view, findings })}\n`);
}

// Runs `visit`, which returns findings. What it throws is one too, so that the other views are visited.
async function findingsOf(visit) {
  try {
    return await visit();
  } catch (error) {
    return [{ kind: "script", detail: String(error.stack ?? error) }];
  }
}

function nameOf(look) {
  return `${look.scheme}-${look.width}`;
}

// Media features are evaluated again without loading the page again, since it has no script that reads them.
async function apply(page, { scheme, width }) {
  const forced = scheme === "forced";
  await page.emulateMedia({ colorScheme: forced ? "dark" : scheme, forcedColors: forced ? "active" : "none" });
  await page.setViewportSize({ ...DESKTOP, width });
}

async function screenshot(page, file, { width }) {
  const whole = width !== DESKTOP.width;
  const height = await page.evaluate(() => document.documentElement.scrollHeight);
  const clip = { x: 0, y: 0, width, height: whole ? Math.min(height, TALLEST_SCREENSHOT) : DESKTOP.height };
  await page.screenshot({ path: join(job.screenshots, `${file}.png`), fullPage: whole, clip, caret: "initial" });
}

// Looks at a page that is loaded.
async function lookAt(site, { page, taken }, spec, look) {
  await apply(page, look);
  await screenshot(page, `${spec.name}-${site.dataset}-${nameOf(look)}`, look);
  const expected = spec.first_screen.filter((part) => site.has_data || part === "heading");
  const first = look.width === DESKTOP.width ? expected : [];
  return [
    ...(await page.evaluate(wider)),
    ...(await page.evaluate(overlaps)),
    ...(await page.evaluate(belowFirstScreen, first)),
    ...(await accessibility(page, axe)),
    ...(await taken()),
  ];
}

// Loads a page with a wide window, as most do, and returns what was found while it loaded.
async function load({ page, taken }, url, look) {
  await apply(page, look);
  const response = await page.goto(url, { waitUntil: "load" });
  if (response.status() !== 200) {
    throw new Error(`GET ${url}: expected status 200, got ${response.status()}`);
  }
  return taken();
}

async function visit(site, tab, spec) {
  const url = `${site.origin}${spec.path}`;
  let pending = await findingsOf(() => load(tab, url, job.looks[0]));
  if (pending.some(({ kind }) => kind === "script")) {
    report(site, spec, "load", pending);
    await openPage(tab, site);
    return;
  }
  for (const look of job.looks) {
    const findings = await findingsOf(() => lookAt(site, tab, spec, look));
    report(site, spec, nameOf(look), [...pending, ...findings]);
    pending = [];
  }
  if (job.keyboard) {
    const operate = async () => [
      ...(await load(tab, url, job.looks[0])),
      ...(await walk(tab.page)),
      ...(await deadLinks(tab.page, site.origin, tab.followed)),
      ...(await operateFilters(tab.page, url)),
      ...(await tab.taken()),
    ];
    report(site, spec, "keyboard", await findingsOf(operate));
  }
}

// Opens a page in place of the one before, which may still load what the browser shows after an error.
async function openPage(tab, site) {
  await tab.page?.close();
  tab.page = await tab.context.newPage();
  tab.page.setDefaultTimeout(DEADLINE);
  tab.taken = watch(tab.page, site.origin);
}

async function open(browser, site) {
  const context = await browser.newContext({ viewport: DESKTOP });
  await context.addInitScript(WATCH_POLICY);
  const tab = { context, followed: new Set() };
  await openPage(tab, site);
  return tab;
}

// Visits the pages that one reader sees. `reader` is null for those without a session.
async function visitAs(browser, site, reader) {
  const tab = await open(browser, site);
  const pages = job.pages.filter((page) => page.reader === reader);
  const session = { name: `session of ${reader}` };
  if (reader !== null) {
    const act = async () => [...(await signIn(tab.page, site.origin, site.tokens[reader])), ...(await tab.taken())];
    report(site, session, "sign in", await findingsOf(act));
  }
  for (const page of pages) {
    await visit(site, tab, page);
  }
  if (reader !== null) {
    const act = async () => [...(await signOut(tab.page, site.origin)), ...(await tab.taken())];
    report(site, session, "sign out", await findingsOf(act));
  }
  await tab.context.close();
}

async function visitSite(browser, site) {
  for (const reader of new Set(job.pages.map((page) => page.reader))) {
    await visitAs(browser, site, reader);
  }
}

mkdirSync(job.screenshots, { recursive: true });
const browser = await chromium.launch({
  executablePath: inPath("chromium"),
  // Root has no user namespace of its own to sandbox in.
  chromiumSandbox: process.getuid() !== 0,
  // Nothing leaves this machine, whatever a page asks for.
  args: ["--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"],
});
try {
  await Promise.all(job.sites.map((site) => visitSite(browser, site)));
} finally {
  await browser.close();
}
