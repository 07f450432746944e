// All links, page by page, and those that contain what is searched for.

import { links as ask } from "./api.js";
import { html } from "./html.js";
import { useEffect, useState } from "./vendor/preact-hooks.js";

const TYPING_MS = 200;
const NOTHING = { links: undefined, next: undefined };

/**
 * `receipt` is of the last change that the list has to include; `totals` maps codes to visits that are newer than the
 * list's; `onLook` gets the code that was chosen.
 */
export function LinkList({ receipt, current, totals, onLook }) {
  const [search, setSearch] = useState("");
  const { links, next, problem, more } = useLinks(search, receipt);
  return html`
    <section class="list" aria-labelledby="list-title">
      <header>
        <h2 id="list-title">Links</h2>
        <div class="field">
          <label class="unseen" for="search">Search</label>
          <div class="box">
            <input id="search" type="search" placeholder="Search" value=${search} onInput=${({ target }) => setSearch(target.value)} />
          </div>
        </div>
      </header>
      ${problem && html`<p class="notice bad" role="alert">${problem.message}</p>`}
      ${links?.length === 0 && !next && html`<p class="empty">${search ? "Nothing contains that." : "No links yet."}</p>`}
      <ul class="card">${links?.map((link) => html`<${Row} key=${link.code} link=${link} total=${totals.get(link.code) ?? link.visits} current=${link.code === current} onLook=${onLook} />`)}</ul>
      ${next && html`<button type="button" class="secondary" onClick=${more}>More</button>`}
    </section>`;
}

function useLinks(search, receipt) {
  const [page, setPage] = useState(NOTHING);
  const [problem, setProblem] = useState();

  useEffect(() => {
    const stop = new AbortController();
    const load = () => read({ search, receipt, signal: stop.signal }, []);
    const timer = setTimeout(load, search ? TYPING_MS : 0);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [search, receipt]);

  async function read(question, before) {
    try {
      const { links, next } = await ask(question);
      setPage({ links: [...before, ...links], next });
      setProblem(undefined);
    } catch (problem) {
      if (!question.signal?.aborted) setProblem(problem);
    }
  }

  return { ...page, problem, more: () => read({ search, receipt, after: page.next }, page.links) };
}

function Row({ link, total, current, onLook }) {
  const visits = `${total.toLocaleString("en-GB")} ${total === 1 ? "visit" : "visits"}`;
  return html`
    <li>
      <button type="button" class="row" aria-current=${current ? "true" : "false"} onClick=${() => onLook(link.code)}>
        <span class="short">${link.code}</span>
        <bdi class="target">${link.url}</bdi>
        <span class="count">${link.state === "live" ? visits : link.state}</span>
      </button>
    </li>`;
}
