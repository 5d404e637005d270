// SPDX-License-Identifier: MIT
//
// Finds the sections that hold all words of the question, the best first. bookSections is the
// list of all sections, [page, address, heading, text], made with the site.
"use strict";

const kShown = 50;      // sections
const kContext = 90;    // characters on each side of what was found

function score(section, words, phrase) {
  const [page, , heading, text] = section.map((part) => part.toLowerCase());
  const own = `${heading} ${text}`;
  if (!words.every((word) => own.includes(word))) return 0;
  let sum = 1;
  if (own.includes(phrase)) sum += 20;
  if (page.includes(phrase)) sum += 5;
  if (heading.includes(phrase)) sum += 40;
  for (const word of words) sum += Math.min(text.split(word).length - 1, 5);
  return sum;
}

// The text around the first place that holds the phrase, or else a word, with these marked.
function excerpt(text, words, phrase) {
  const lower = text.toLowerCase();
  const places = [phrase, ...words].map((word) => lower.indexOf(word)).filter((at) => at >= 0);
  const near = (places[0] ?? 0) - kContext;
  const start = near <= 0 ? 0 : text.indexOf(" ", near) + 1;  // from a word's beginning on
  const piece = text.slice(start, start + 2 * kContext + phrase.length);
  const pattern = words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|");
  const paragraph = document.createElement("p");
  paragraph.append(start > 0 ? "… " : "");
  for (const part of piece.split(new RegExp(`(${pattern})`, "i"))) {
    const node = words.includes(part.toLowerCase()) ? document.createElement("mark") : null;
    if (node) node.textContent = part;
    paragraph.append(node ?? part);
  }
  paragraph.append(start + piece.length < text.length ? " …" : "");
  return paragraph;
}

function show(question) {
  const phrase = question.toLowerCase().trim().replace(/\s+/g, " ");
  const words = phrase.split(" ").filter((word) => word);
  const found = words.length === 0 ? [] : bookSections
    .map((section) => ({section, points: score(section, words, phrase)}))
    .filter((its) => its.points > 0)
    .sort((a, b) => b.points - a.points);
  document.getElementById("count").textContent = words.length === 0
    ? "Type what you look for into the field on top of the list of pages."
    : `${found.length} section${found.length === 1 ? " has" : "s have"} “${phrase}”` +
      (found.length > kShown ? `; the first ${kShown}:` : found.length > 0 ? ":" : ".");
  document.getElementById("found").replaceChildren(...found.slice(0, kShown).map(({section}) => {
    const [page, address, heading, text] = section;
    const item = document.createElement("li");
    const link = document.createElement("a");
    link.href = address;
    link.textContent = heading === page ? page : `${page} › ${heading}`;
    item.append(link, excerpt(text, words, phrase));
    return item;
  }));
}

const field = document.querySelector(".sidebar-search");
field.value = new URLSearchParams(location.search).get("q") ?? "";
field.addEventListener("input", () => show(field.value));
show(field.value);
