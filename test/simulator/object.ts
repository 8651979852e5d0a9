import { DurableObject } from 'cloudflare:workers'
import { ConnectionCut } from './delivery.ts'
import { createSimulator } from './simulator.ts'

/**
 * In module scope, not in the object or its storage. The object forgets its memory ten seconds
 * after its last request, which would lose the log between two steps of a test; and writing each
 * charge to storage would put a disk in the middle of every measurement. The local runtime keeps
 * one isolate for as long as it runs, so what stands here lives exactly as long as the server.
 */
const simulator = createSimulator()

/** The one place that counts, charges and records: every isolate of the Worker comes here. */
export class SimulatedOpenRouter extends DurableObject {
  override async fetch(request: Request): Promise<Response> {
    try {
      return await simulator.fetch(request)
    } catch (error) {
      // A Worker cannot hang up before its headers. The nearest thing is what a reverse proxy
      // says when its origin did; listen.ts closes the socket for real.
      if (error instanceof ConnectionCut) return new Response(null, { status: 502 })
      throw error
    }
  }
}
