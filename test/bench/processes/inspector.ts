export interface Inspector {
  ask(method: string, params?: object): Promise<unknown>
  close(): void
  on?(l: (m: any) => void): void
}

/** workerd's inspector speaks the Chrome DevTools Protocol. */
export async function openInspector(port: number): Promise<Inspector> {
  const response = await fetch(`http://127.0.0.1:${port}/json`)
  const pages = (await response.json()) as readonly {
    readonly id: string
    readonly title: string
    readonly webSocketDebuggerUrl: string
  }[]
  const page = pages.find(({ id, title }) => `${id} ${title}`.includes('main'))
  if (page === undefined) throw new Error(`No Worker to inspect: ${JSON.stringify(pages)}`)
  const socket = new WebSocket(page.webSocketDebuggerUrl)
  const pending = new Map<number, (result: unknown) => void>()
  socket.addEventListener('message', ({ data }) => {
    const message: { readonly id?: number; readonly result?: unknown } = JSON.parse(String(data))
    if (message.id !== undefined) pending.get(message.id)?.(message.result)
  })
  await new Promise((resolve, reject) => {
    socket.addEventListener('open', resolve)
    socket.addEventListener('error', () => reject(new Error('The inspector does not answer.')))
  })
  let asked = 0
  return {
    ask(method, params = {}) {
      asked += 1
      const id = asked
      socket.send(JSON.stringify({ id, method, params }))
      return new Promise((resolve) => pending.set(id, resolve))
    },
    on: (l: (m: any) => void) => socket.addEventListener('message', ({ data }) => l(JSON.parse(String(data)))),
    close: () => socket.close(),
  }
}

const MIB = 1024 * 1024

/** What an isolate's heap holds, in MiB. */
export interface HeapFigures {
  /** Of V8's heap: what it has of the system, and what is alive or garbage. */
  readonly total: number
  readonly used: number
  /** What lies outside of it: buffers, and the runtime's own objects. */
  readonly buffers: number
  readonly embedder: number
}

/** @param collects whether garbage is collected before: then `used` is what is alive */
export async function heapFigures(inspector: Inspector, collects: boolean): Promise<HeapFigures> {
  if (collects) await inspector.ask('HeapProfiler.collectGarbage')
  const usage = (await inspector.ask('Runtime.getHeapUsage')) as Record<string, number>
  const mib = (name: string) => (usage[name] ?? Number.NaN) / MIB
  return {
    total: mib('totalSize'),
    used: mib('usedSize'),
    buffers: mib('backingStorageSize'),
    embedder: mib('embedderHeapUsedSize'),
  }
}
