/** An answer that is not OpenRouter's JSON: Cloudflare's pages, an empty body, nonsense. */
export interface RawAnswer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string | null
}

const edgePage = (title: string, text: string) =>
  `<!DOCTYPE html>\n<html lang="en-US">\n<head><title>${title}</title></head>\n<body>\n` +
  `<h1>${title}</h1>\n<p>${text}</p>\n<p>Cloudflare Ray ID: 8f0c0ffee0c0ffee</p>\n</body>\n</html>\n`

const html = (status: number, title: string, text: string): RawAnswer => ({
  status,
  headers: { 'content-type': 'text/html; charset=UTF-8' },
  body: edgePage(title, text),
})

/** Faults whose body is the same for all API shapes, by name. */
export const RAW_FAULTS: Readonly<Record<string, RawAnswer>> = {
  'html-403': html(403, 'Attention Required! | Cloudflare', 'Sorry, you have been blocked.'),
  'html-429': html(429, 'Access denied | Error 1015', 'You are being rate limited.'),
  'html-503': html(503, '503 Service Temporarily Unavailable', 'Please try again later.'),
  'empty-502': { status: 502, headers: {}, body: null },
  redirect: { status: 302, headers: { location: 'https://openrouter.ai/' }, body: null },
  'html-200': html(200, 'OpenRouter', 'The unified interface for models.'),
  'garbage-json-200': {
    status: 200,
    headers: { 'content-type': 'application/json' },
    body: '{"id":"gen-1762047030-abc","choices":[{"index":0,"mess',
  },
}

/** The answer of OpenRouter's website, which serves all paths outside /api. */
export const WEBSITE_404: RawAnswer = html(404, 'OpenRouter', 'This page could not be found.')
