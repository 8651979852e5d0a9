import type { deployment } from './admin-driver.ts'

type Send = ReturnType<ReturnType<typeof deployment>['isolate']>['send']

/** What a browser adds by itself to a request from one of the gateway's own pages. */
export const FROM_OWN_PAGE = { 'sec-fetch-site': 'same-origin', origin: 'https://gateway.example' }

/** Posts a form as a page does. */
export async function postForm(
  send: Send,
  path: string,
  fields: Readonly<Record<string, string>>,
  headers: Readonly<Record<string, string>> = {},
): Promise<Response> {
  return await send(path, {
    method: 'POST',
    redirect: 'manual',
    headers: {
      'content-type': 'application/x-www-form-urlencoded',
      ...FROM_OWN_PAGE,
      ...headers,
    },
    body: new URLSearchParams(fields).toString(),
  })
}

/** Signs in with a token; what the browser then sends as `Cookie`, or an empty text. */
export async function cookieOf(
  send: Send,
  token: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<string> {
  const response = await postForm(send, '/admin/sign-in', { token }, headers)
  return response.headers.get('set-cookie')?.split(';')[0] ?? ''
}
