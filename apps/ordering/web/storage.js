// A value kept by the browser, which may refuse to keep anything: then the page works without a memory.

/** One named JSON value in a storage; the storage is asked for late, since merely touching it can be forbidden. */
export function kept(storage, name) {
  return {
    read: () => allowed(() => JSON.parse(storage().getItem(`ordering.${name}`) ?? "null") ?? undefined),
    write: (value) => allowed(() => storage().setItem(`ordering.${name}`, JSON.stringify(value))),
    clear: () => allowed(() => storage().removeItem(`ordering.${name}`)),
  };
}

function allowed(access) {
  try {
    return access();
  } catch {
    return undefined;
  }
}
