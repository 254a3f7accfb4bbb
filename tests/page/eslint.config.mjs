// What eslint asks of the page's modules and of their tests.
import js from "@eslint/js";
import globals from "globals";

const rules = {
  ...js.configs.recommended.rules,
  "no-var": "error",
  "prefer-const": "error",
  eqeqeq: "error",
};

export default [
  {
    files: ["lenet/page/*.mjs"],
    rules,
    languageOptions: { globals: globals.browser },
  },
  {
    files: ["tests/page/*.mjs"],
    rules,
    languageOptions: { globals: globals.node },
  },
];
