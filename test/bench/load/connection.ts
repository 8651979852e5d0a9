import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { MessageReader } from './message-reader.ts'

export interface Answer {
  readonly status: number
  /** The beginning of its body where it is an error, for people. */
  readonly excerpt: string
}

const MAX_EXCERPT_LENGTH = 300

type OnBody = ((bytes: Buffer) => void) | null

/** A kept connection that carries one request at a time. */
export class Connection {
  readonly #port: number
  readonly #host: string
  readonly #reader: MessageReader
  #socket: Socket | null = null
  #pending: ReturnType<typeof Promise.withResolvers<Answer>> | null = null
  #status = 0
  #excerpt = ''
  #onBody: OnBody = null

  private constructor(port: number, host: string) {
    this.#port = port
    this.#host = host
    this.#reader = new MessageReader({
      onHead: (head) => {
        this.#status = Number(head.slice(9, 12))
      },
      onBody: (bytes) => {
        this.#onBody?.(bytes)
        if (this.#status === 200 || this.#excerpt.length >= MAX_EXCERPT_LENGTH) return
        this.#excerpt += bytes.toString('latin1', 0, MAX_EXCERPT_LENGTH)
      },
      onEnd: () => {
        const pending = this.#pending
        this.#pending = null
        pending?.resolve({ status: this.#status, excerpt: this.#excerpt })
      },
    })
  }

  static async open(port: number, host: string): Promise<Connection> {
    const connection = new Connection(port, host)
    await connection.#connect()
    return connection
  }

  async #connect(): Promise<Socket> {
    const socket = connect({ port: this.#port, host: this.#host })
    await once(socket, 'connect')
    socket.setNoDelay(true)
    socket.on('data', (bytes) => this.#reader.push(bytes))
    socket.on('error', (error) => this.#pending?.reject(error))
    socket.on('close', () => {
      this.#socket = null
      this.#pending?.reject(new Error('The connection was closed before the answer was whole.'))
    })
    this.#socket = socket
    return socket
  }

  /**
   * Sends a request and waits for the end of its answer. A server closes what has been idle for some
   * seconds; the connection is then made anew.
   * @param onBody sees the body as it comes, chunks' framing taken off
   * @throws where the connection breaks first
   */
  async send(parts: readonly Buffer[], onBody: OnBody = null): Promise<Answer> {
    const socket = this.#socket ?? (await this.#connect())
    const pending = Promise.withResolvers<Answer>()
    this.#pending = pending
    this.#onBody = onBody
    this.#excerpt = ''
    socket.cork()
    for (const part of parts) socket.write(part)
    socket.uncork()
    return await pending.promise
  }

  close(): void {
    this.#socket?.destroy()
  }
}

export async function openConnections(
  port: number,
  count: number,
  host: string,
): Promise<Connection[]> {
  return await Promise.all(Array.from({ length: count }, () => Connection.open(port, host)))
}
