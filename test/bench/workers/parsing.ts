/** The least that a gateway can do which knows what it passes on: both bodies are read and parsed. */
export default {
  async fetch(request, { UPSTREAM_URL }) {
    const { pathname } = new URL(request.url)
    const body = await request.arrayBuffer()
    const question = parse(body)
    const response = await fetch(UPSTREAM_URL + pathname, {
      method: request.method,
      headers: request.headers,
      body,
    })
    const content = await response.arrayBuffer()
    const answer = parse(content)
    const { status, headers } = response
    return question !== null && answer !== null
      ? new Response(content, { status, headers })
      : new Response(null, { status: 502 })
  },
} satisfies ExportedHandler<{ UPSTREAM_URL: string }>

function parse(bytes: ArrayBuffer): unknown {
  return JSON.parse(new TextDecoder().decode(bytes))
}
