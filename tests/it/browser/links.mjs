// Follows the links of pages.

// Returns a finding for each link of the page within `origin` that leads nowhere. `followed` has the addresses that were
// followed before.
export async function deadLinks(page, origin, followed) {
  const links = await page.evaluate(() => [...document.links].map(({ href }) => href.split("#")[0]));
  const own = new Set(links.filter((link) => new URL(link).origin === origin && !followed.has(link)));
  const findings = [];
  for (const link of own) {
    followed.add(link);
    const status = (await page.request.get(link)).status();
    if (status !== 200) {
      findings.push({ kind: "link", detail: `GET ${link}: expected status 200, got ${status}` });
    }
  }
  return findings;
}
