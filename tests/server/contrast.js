// For every text on the page: its contrast to what is behind it (WCAG 2.2, 1.4.3). And controls without a name.
() => {
  const parse = (color) => {
    const [r, g, b, a = 1] = color.match(/[\d.]+/g).map(Number);
    return { r, g, b, a };
  };
  const over = (top, below) => {
    const mix = (name) => top[name] * top.a + below[name] * (1 - top.a);
    return { r: mix("r"), g: mix("g"), b: mix("b"), a: 1 };
  };
  const luminance = ({ r, g, b }) => {
    const [red, green, blue] = [r, g, b].map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const backdrop = (element) => {
    if (!element) return { r: 255, g: 255, b: 255, a: 1 };
    const own = parse(getComputedStyle(element).backgroundColor);
    return own.a === 1 ? own : over(own, backdrop(element.parentElement));
  };
  const isShown = (element) => element.checkVisibility() && !element.closest(".hidden-visually, .skip, option, noscript");
  const texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || !isShown(element)) continue;
    const below = backdrop(element);
    const text = over(parse(getComputedStyle(element).color), below);
    const [low, high] = [luminance(text), luminance(below)].sort((a, b) => a - b);
    texts.push({ text: node.data.trim().slice(0, 40), contrast: (high + 0.05) / (low + 0.05) });
  }
  const named = (control) => control.ariaLabel || control.labels?.length || control.textContent.trim()
    || document.getElementById(control.getAttribute("aria-labelledby"));
  const controls = [...document.querySelectorAll("input, textarea, select, button")];
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  return {
    texts,
    nameless: controls.filter((control) => !named(control)).map((control) => control.outerHTML),
    ids: ids.filter((id, index) => ids.indexOf(id) !== index),
  };
}
