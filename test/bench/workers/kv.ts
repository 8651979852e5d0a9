/**
 * A KV namespace in memory. workerd has none of its own: its binding sends these requests to a
 * service. Expiry is left out, since nothing that is kept here outlives its time.
 */
const values = new Map<string, ArrayBuffer>()

export default {
  async fetch(request) {
    const key = new URL(request.url).pathname.slice(1)
    switch (request.method) {
      case 'PUT':
        values.set(key, await request.arrayBuffer())
        return new Response()
      case 'DELETE':
        values.delete(key)
        return new Response()
      case 'GET': {
        const value = values.get(key)
        return value === undefined ? new Response(null, { status: 404 }) : new Response(value)
      }
      default:
        return new Response(null, { status: 405 })
    }
  },
} satisfies ExportedHandler
