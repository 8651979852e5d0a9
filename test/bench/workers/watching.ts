/**
 * The least that a gateway can do which knows how a stream ends: each piece passes through its hands.
 * It has no clock, finds no error, and a client that leaves costs what upstream goes on writing.
 */
export default {
  async fetch(request, { UPSTREAM_URL }) {
    const { pathname } = new URL(request.url)
    const { body, status, headers } = await fetch(UPSTREAM_URL + pathname, {
      method: request.method,
      headers: request.headers,
      body: request.body,
    })
    const isStream = headers.get('content-type')?.startsWith('text/event-stream') ?? false
    return new Response(body !== null && isStream ? watched(body) : body, { status, headers })
  },
} satisfies ExportedHandler<{ UPSTREAM_URL: string }>

const decoder = new TextDecoder()

function watched(body: ReadableStream<Uint8Array>): ReadableStream<Uint8Array> {
  const reader = body.getReader()
  let isFinished = false
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const { done, value } = await reader.read()
        if (done) {
          if (isFinished) controller.close()
          else controller.error(new Error('The stream was cut.'))
        } else {
          isFinished ||= decoder.decode(value).includes('[DONE]')
          controller.enqueue(value)
        }
      },
      cancel: (reason) => reader.cancel(reason),
    },
    { highWaterMark: 0 },
  )
}
