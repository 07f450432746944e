// Preact and htm joined: `html` builds the page's elements from templates, without a build step.

import htm from "./vendor/htm.js";
import { h } from "./vendor/preact.js";

export const html = htm.bind(h);
