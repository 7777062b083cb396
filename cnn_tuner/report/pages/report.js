// Draws every chart of the page with the colours of its style sheet, light or dark, and again when those change.
"use strict";
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const drawn = [];

  const coloured = (value, style) => {
    if (typeof value === "string") {
      return /^@[a-z]+$/.test(value) ? style.getPropertyValue("--" + value.slice(1)).trim() || value : value;
    }
    if (Array.isArray(value)) return value.map((each) => coloured(each, style));
    if (value === null || typeof value !== "object") return value;
    // Names and tips are a user's text, never a colour.
    const kept = new Set(["tip", "name", "data"]);
    return Object.fromEntries(Object.entries(value).map(([key, each]) => {
      const isText = kept.has(key) && (typeof each === "string" || (Array.isArray(each) && each.every((e) => typeof e === "string")));
      return [key, isText ? each : coloured(each, style)];
    }));
  };

  const draw = (element) => {
    const style = getComputedStyle(document.documentElement);
    const options = coloured(JSON.parse(document.getElementById(element.dataset.options).textContent), style);
    if (options.tooltip && options.tooltip.trigger === "item") {
      options.tooltip.formatter = (item) => {
        const own = item.data && item.data.tip;
        return own || options.series[item.seriesIndex].tip || item.name || item.seriesName;
      };
    }
    const chart = echarts.init(element, null, { renderer: "svg" });
    chart.setOption(options);
    return chart;
  };

  const elements = [...document.querySelectorAll(".chart")];
  const redraw = () => {
    for (const chart of drawn.splice(0)) chart.dispose();
    for (const element of elements) {
      element.style.display = "block"; // one without a drawing is not shown, and would have no size
      drawn.push(draw(element));
    }
  };
  const fit = () => { for (const chart of drawn) chart.resize(); };

  redraw();
  dark.addEventListener("change", redraw);
  window.addEventListener("resize", fit);
  window.addEventListener("beforeprint", fit);
  window.addEventListener("afterprint", fit);
})();
