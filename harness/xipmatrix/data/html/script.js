/* SPDX-License-Identifier: GPL-2.0-only */
/* The filter above a grid: it hides rows and cells that don't match. And where runs are too
 * many for the window, the newest are shown first. All else is HTML. */
"use strict";
for (const form of document.querySelectorAll("form.filter")) {
	const all = [...document.querySelectorAll("[data-cells]")];
	const out = form.querySelector("output");
	const cells = all.filter((one) => one.matches("article"));
	const apply = () => {
		const text = form.elements.text.value.trim().toLowerCase();
		const verdict = form.elements.verdict.value;
		for (const one of all) {
			const fits = one.dataset.cells.toLowerCase().includes(text)
				&& (verdict === "" || one.dataset.words.split("|").includes(verdict));
			one.hidden = !fits;
		}
		const shown = cells.filter((one) => !one.hidden).length;
		out.textContent = `${shown} of ${cells.length} cells shown`;
	};
	form.addEventListener("input", apply);
	form.addEventListener("submit", (event) => event.preventDefault());
	form.hidden = false;
	apply();
}
for (const table of document.querySelectorAll("table.time")) {
	table.parentElement.scrollLeft = table.scrollWidth;
}
