// Measures a page. Each function runs in the page, so that it can use nothing from outside itself, and returns
// findings.

// Finds that the page is wider than the window, and names the elements that stand out of it.
export function wider() {
  const { scrollWidth, clientWidth } = document.documentElement;
  if (scrollWidth <= clientWidth) {
    return [];
  }
  const standsOut = (element) => {
    const range = document.createRange();
    range.selectNode(element);
    const text = document.createRange();
    text.selectNodeContents(element);
    const right = Math.max(range.getBoundingClientRect().right, text.getBoundingClientRect().right);
    return right + scrollX > clientWidth + 0.5;
  };
  const outside = [...document.body.querySelectorAll("*")].filter(standsOut);
  // An element stands out with each that it holds.
  const innermost = outside.filter((element) => ![...element.children].some(standsOut));
  const named = innermost.slice(0, 5).map((element) => element.outerHTML.slice(0, 120));
  return [{ kind: "sideways", detail: `${scrollWidth} px in a window of ${clientWidth} px: ${named.join(" ")}` }];
}

// Finds text that covers other text.
export function overlaps() {
  // Returns the part of a box that its ancestors let be seen.
  const clipped = (box, element) => {
    let { left, top, right, bottom } = box;
    for (let parent = element; parent && parent !== document.body; parent = parent.parentElement) {
      const style = getComputedStyle(parent);
      if (style.overflowX !== "visible" || style.clipPath !== "none" || style.clip !== "auto") {
        const outer = parent.getBoundingClientRect();
        [left, top] = [Math.max(left, outer.left), Math.max(top, outer.top)];
        [right, bottom] = [Math.min(right, outer.right), Math.min(bottom, outer.bottom)];
      }
    }
    // Lines stand closer than their boxes are tall, which have room for accents.
    const room = (box.bottom - box.top) / 5;
    return { left: left + 1, top: top + room, right: right - 1, bottom: bottom - room };
  };
  const block = (element) => {
    let found = element;
    while (found.parentElement && getComputedStyle(found).display === "inline") {
      found = found.parentElement;
    }
    return found;
  };
  const boxes = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    const shown = element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
    if (node.data.trim() === "" || !shown || element.closest("select, title, desc")) {
      continue;
    }
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const box of range.getClientRects()) {
      const { left, top, right, bottom } = clipped(box, element);
      if (right > left && bottom > top) {
        boxes.push({ left, top, right, bottom, text: node.data.trim().slice(0, 40), block: block(element) });
      }
    }
  }
  boxes.sort((one, other) => one.top - other.top);
  const findings = [];
  boxes.forEach((box, index) => {
    for (let next = index + 1; next < boxes.length && boxes[next].top < box.bottom; next += 1) {
      const other = boxes[next];
      const covers = other.left < box.right && box.left < other.right && other.block !== box.block;
      if (covers && findings.length < 5) {
        findings.push({ kind: "overlap", detail: `"${box.text}" and "${other.text}" cover each other` });
      }
    }
  });
  return findings;
}

// Finds what of `parts` is not in the window before any scrolling: `heading`, `answer`, or `evidence`, which is the
// first chart, or four rows of the first table.
export function belowFirstScreen(parts) {
  const selectors = { heading: "h1", answer: "[data-answer], .answer", evidence: "main figure, main table" };
  scrollTo(0, 0);
  return parts.flatMap((part) => {
    const element = [...document.querySelectorAll(selectors[part])].find((found) => found.checkVisibility());
    if (element === undefined) {
      return [{ kind: "first screen", detail: `no ${part} (${selectors[part]})` }];
    }
    const last = element.matches("table") ? [...element.rows].slice(0, 4).at(-1) : element;
    const bottom = Math.ceil((last ?? element).getBoundingClientRect().bottom);
    if (bottom <= innerHeight) {
      return [];
    }
    return [{ kind: "first screen", detail: `the ${part} ends at ${bottom} px of ${innerHeight} px` }];
  });
}
