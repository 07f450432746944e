// Lets node find the modules that pages share, as a server does: where a page's folder has no such file, theirs has it.

import { register } from "node:module";

register("./resolve.js", import.meta.url);
