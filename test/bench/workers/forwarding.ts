/** The least that a gateway can do: it passes both bodies on as they come, and looks at neither. */
export default {
  async fetch(request, { UPSTREAM_URL }) {
    const { pathname } = new URL(request.url)
    return await fetch(UPSTREAM_URL + pathname, {
      method: request.method,
      headers: request.headers,
      body: request.body,
    })
  },
} satisfies ExportedHandler<{ UPSTREAM_URL: string }>
