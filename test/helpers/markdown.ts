/** Pages of the documentation, as far as tests look at them. */

/** What is written in a page, without what stands in it as a listing. */
export const proseOf = (page: string) => page.replace(/^ *```[\s\S]*?^ *```$/gm, '');

/** As the headings of a page are linked to. */
export const anchorsOf = (page: string) =>
  [...proseOf(page).matchAll(/^#+ (.*)$/gm)].map(([, title]) =>
    title
      .toLowerCase()
      .replace(/[^\w -]/g, '')
      .replaceAll(' ', '-'),
  );

/** Where the links of a page lead, but for those to elsewhere. */
export const linksOf = (page: string) =>
  [...proseOf(page).matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, target]) => target)
    .filter((target) => !/^[a-z]+:/.test(target));
