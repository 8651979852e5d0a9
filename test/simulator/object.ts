import { DurableObject } from 'cloudflare:workers'
import { ConnectionCut } from './delivery.ts'
import { createSimulator } from './simulator.ts'

/**
 * In module scope, not in the object or its storage. The object loses its memory ten seconds after
 * its last request, so a test could lose the log between two steps. Writing each charge to storage
 * would add a disk to every measurement. The local runtime keeps one isolate while it runs, so this
 * value lives exactly as long as the server.
 */
const simulator = createSimulator()

/** The only place that counts, charges and records: every isolate of the Worker calls it. */
export class SimulatedOpenRouter extends DurableObject {
  override async fetch(request: Request): Promise<Response> {
    try {
      return await simulator.fetch(request)
    } catch (error) {
      // A Worker cannot hang up before its headers. The closest answer is that of a reverse proxy
      // whose origin hung up. listen.ts really closes the socket.
      if (error instanceof ConnectionCut) return new Response(null, { status: 502 })
      throw error
    }
  }
}
