// The guest of ../guest.wit in JavaScript, for StarlingMonkey (componentize-js).
import { find } from "test:guest-language/catalog@0.1.0";

const COUNT_MAX = 2n ** 64n - 1n;

export const stock = {
  apply(name, changes) {
    const item = find(name);
    if (item === undefined) {
      throw `no ${name}`; // an error of WIT's `result`
    }
    for (const change of changes) {
      switch (change.tag) {
        case "clear":
          item.note = undefined;
          break;
        case "add":
          if (change.val > COUNT_MAX - item.count) {
            throw `too many ${item.name}`;
          }
          item.count += change.val;
          break;
        case "rename":
          item.name = change.val;
          break;
        case "tag":
          item.tags = [...item.tags, ...change.val];
          break;
      }
    }
    return item;
  },
};

export function handle(text) {
  return `Hello, ${text}!`;
}

export function probe(what) {
  switch (what) {
    case "print":
      console.log("to out");
      console.error("to err");
      return "printed";
    case "clock":
      return String(Date.now());
    case "random":
      return String(Math.random());
    default:
      return "none";
  }
}
