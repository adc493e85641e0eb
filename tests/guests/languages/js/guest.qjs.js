// The guest of ../guest.wit in JavaScript, for QuickJS (componentize-qjs). It differs from guest.js
// in three points: numbers of 64 bits are plain numbers, errors are thrown as `payload`, and there
// is no console.
import { find } from "test:guest-language/catalog@0.1.0";

export const stock = {
  apply(name, changes) {
    const item = find(name);
    if (item === null) {
      throw { payload: `no ${name}` };
    }
    for (const change of changes) {
      switch (change.tag) {
        case "clear":
          item.note = null;
          break;
        case "add":
          if (change.val > Number.MAX_SAFE_INTEGER - item.count) {
            throw { payload: `too many ${item.name}` };
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
    case "clock":
      return String(Date.now());
    case "random":
      return String(Math.random());
    default:
      return "none";
  }
}
