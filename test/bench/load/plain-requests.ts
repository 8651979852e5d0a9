import { request as httpRequest, type IncomingMessage } from 'node:http'
import { tokenOf } from '../mix.ts'

/** Single requests, each on a connection of its own, for what is not a load of many. */

/** Sends a chat completion. @returns its answer, which has begun */
export function post(port: number, body: Buffer): Promise<IncomingMessage> {
  const headers = { 'content-type': 'application/json', 'content-length': body.length }
  return send(port, '/api/v1/chat/completions', { method: 'POST', headers }, body)
}

/** Asks for a list. @returns its answer, which has begun, and which nobody reads yet */
export function get(port: number, path: string): Promise<IncomingMessage> {
  return send(port, `/api/v1/${path}`, { method: 'GET', headers: {} })
}

function send(
  port: number,
  path: string,
  { method, headers }: { method: string; headers: Readonly<Record<string, string | number>> },
  body?: Buffer,
): Promise<IncomingMessage> {
  const options = {
    ...{ host: '127.0.0.1', port, path, method, agent: false as const },
    headers: { authorization: `Bearer ${tokenOf(0)}`, ...headers },
  }
  return new Promise((resolve, reject) => {
    httpRequest(options, resolve).once('error', reject).end(body)
  })
}

/** Reads an answer to its end. */
export async function finish(answer: IncomingMessage): Promise<void> {
  for await (const _ of answer);
}
