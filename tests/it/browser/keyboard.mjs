// Operates pages by keyboard alone: Tab, Enter, Space, the arrow keys, and letters in fields.

// The number of elements that Tab has to reach on a page. A table with a link in each row has more, all alike.
const MOST_STOPS = 100;

const isFocused = (selector) => document.activeElement?.matches(selector) ?? false;

// Presses Tab until an element has the focus.
async function tabTo(page, selector) {
  for (let presses = 0; presses <= MOST_STOPS; presses += 1) {
    if (await page.evaluate(isFocused, selector)) {
      return;
    }
    await page.keyboard.press("Tab");
  }
  throw new Error(`Tab does not reach ${selector} within ${MOST_STOPS} presses`);
}

// Presses a key that opens another document, and waits until it is loaded.
async function pressAndLoad(page, key) {
  await Promise.all([page.waitForEvent("load"), page.keyboard.press(key)]);
}

const SIGN_OUT = 'form[action="/sign-out"] button';

export async function signIn(page, origin, token) {
  await page.goto(`${origin}/`);
  await tabTo(page, "input[type=password]");
  await page.keyboard.type(token);
  await pressAndLoad(page, "Enter");
  if (await page.locator(SIGN_OUT).count() === 0) {
    return [{ kind: "keyboard", detail: "the token and Enter do not sign in" }];
  }
  return [];
}

export async function signOut(page, origin) {
  await page.goto(`${origin}/`);
  await tabTo(page, SIGN_OUT);
  await pressAndLoad(page, "Space");
  if (await page.locator("input[type=password]").count() === 0) {
    return [{ kind: "keyboard", detail: "Space on the button does not sign out" }];
  }
  return [];
}

// Keeps the elements that Tab has to reach, in the page.
function expectStops(most) {
  const selector = "a[href], button, input:not([type=hidden], [type=radio]), select, textarea, summary";
  const stops = [...document.querySelectorAll(selector)].filter((element) => {
    return element.checkVisibility({ visibilityProperty: true }) && !element.disabled;
  });
  globalThis.stops = new Set(stops.slice(0, most));
}

// Returns a finding if the focus on an element cannot be seen, and whether all elements were reached.
function noteStop() {
  const element = document.activeElement;
  globalThis.stops.delete(element);
  const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(element);
  const isSeen = (outlineStyle !== "none" && parseFloat(outlineWidth) > 0) || boxShadow !== "none";
  const detail = `the focus cannot be seen on ${element.outerHTML.slice(0, 120)}`;
  const findings = element === document.body || isSeen ? [] : [{ kind: "keyboard", detail }];
  return { done: globalThis.stops.size === 0, findings };
}

// Presses Tab until each link and control had the focus. Finds those that Tab does not reach, and a focus that is not
// to be seen.
export async function walk(page) {
  await page.evaluate(expectStops, MOST_STOPS);
  const findings = [];
  // Scrollable regions take the focus too.
  for (let presses = 0; presses < 2 * MOST_STOPS; presses += 1) {
    await page.keyboard.press("Tab");
    const stop = await page.evaluate(noteStop);
    findings.push(...stop.findings);
    if (stop.done) {
      return findings;
    }
  }
  const missed = await page.evaluate(() => [...globalThis.stops].map((element) => element.outerHTML.slice(0, 120)));
  return [...findings, ...missed.map((element) => ({ kind: "keyboard", detail: `Tab does not reach ${element}` }))];
}

const FILTERS = 'form:not([method="post"])';

// Returns the names of the filters with more than one option.
function filterNames(form) {
  const controls = [...document.querySelectorAll(`${form} select, ${form} input[type=radio]`)];
  const several = controls.filter(({ options, name }) => (options ?? document.getElementsByName(name)).length > 1);
  return [...new Set(several.map(({ name }) => name))];
}

// Returns the value of a filter.
function filterValue([form, name]) {
  return new FormData(document.querySelector(`${form}:has([name="${name}"])`)).get(name);
}

// Changes a filter with an arrow key and sends the form with Enter on its button. Finds a view that is not the one
// asked for.
async function operateFilter(page, name) {
  const value = () => page.evaluate(filterValue, [FILTERS, name]);
  const before = await value();
  await tabTo(page, `${FILTERS} [name="${name}"]`);
  await page.keyboard.press("ArrowDown");
  // The last option of a list has none below it.
  if (await value() === before) {
    await page.keyboard.press("ArrowUp");
  }
  const chosen = await value();
  if (chosen === before) {
    return [{ kind: "keyboard", detail: `the arrow keys do not change the filter \`${name}\` from \`${before}\`` }];
  }
  await tabTo(page, `${FILTERS}:has([name="${name}"]) button`);
  await pressAndLoad(page, "Enter");
  const address = new URL(page.url()).searchParams.get(name);
  const shown = await value();
  if (address === chosen && shown === chosen) {
    return [];
  }
  const detail = `the filter ${name} was set to ${chosen}: the address has ${address}, the form has ${shown}`;
  return [{ kind: "keyboard", detail }];
}

// Changes each filter of the page at `url` on its own.
export async function operateFilters(page, url) {
  const findings = [];
  for (const name of await page.evaluate(filterNames, FILTERS)) {
    await page.goto(url);
    findings.push(...(await operateFilter(page, name)));
  }
  return findings;
}
