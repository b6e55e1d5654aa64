// Checks the accessibility of a page with axe-core.

// The rules of WCAG 2.2 up to level AA, and those that axe-core recommends beside them.
const TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];

// The number of elements that the finding of a rule names: the others mostly repeat them.
const NAMED_ELEMENTS = 5;

function finding({ id, impact, help, nodes }) {
  const named = nodes.slice(0, NAMED_ELEMENTS).map(({ target, failureSummary }) => {
    return `${target.flat().join(" ")}: ${failureSummary.replace(/\s+/g, " ")}`;
  });
  return { kind: "axe", detail: `${id} (${impact}): ${help}; ${nodes.length} elements, such as ${named.join("; ")}` };
}

// Runs in the page. axe-core takes the colour of text from `-webkit-text-fill-color`, of which Chromium gives the
// page's own value where colours are forced. Without it axe-core takes `color`, which is right.
function hideFillColor() {
  const { getPropertyValue } = CSSStyleDeclaration.prototype;
  CSSStyleDeclaration.prototype.getPropertyValue = function (name) {
    const isHidden = name === "-webkit-text-fill-color" && matchMedia("(forced-colors: active)").matches;
    return isHidden ? "" : getPropertyValue.call(this, name);
  };
}

// Returns a finding for each rule that the page breaks as it looks. The debugger's interface evaluates the source of
// axe-core, which the page's policy does not stop, so that the policy stays as it is.
export async function accessibility(page, source) {
  if (await page.evaluate(() => globalThis.axe === undefined)) {
    await page.evaluate(source);
    await page.evaluate(hideFillColor);
  }
  const violations = await page.evaluate(async (tags) => {
    const options = { runOnly: { type: "tag", values: tags }, resultTypes: ["violations"], preload: false };
    return (await globalThis.axe.run(document, options)).violations;
  }, TAGS);
  return violations.map(finding);
}
