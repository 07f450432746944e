// What `shared.js` registers; node runs it in a thread of its own.

const SHARED = new URL("../web/files/", import.meta.url);

export async function resolve(specifier, context, next) {
  try {
    return await next(specifier, context);
  } catch (error) {
    if (error.code !== "ERR_MODULE_NOT_FOUND" || !specifier.startsWith("./")) throw error;
    return next(new URL(specifier, SHARED).href, context);
  }
}
