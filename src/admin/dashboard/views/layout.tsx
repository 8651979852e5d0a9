import type { Child } from 'hono/jsx'

interface Shell {
  readonly title: string
  /** Who is signed in; null for the page on which one does. */
  readonly operator: string | null
  /** The page's own script, in the folder of assets. */
  readonly script?: 'dashboard.js' | 'api-docs.js'
  readonly children: Child
}

/** What all pages have. Nothing on them is from elsewhere, and no script or style stands in them. */
export function Layout({ title, operator, script, children }: Shell) {
  return (
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="robots" content="noindex" />
        <meta name="color-scheme" content="light dark" />
        <title>{title} · Switchyard</title>
        <link rel="icon" href="/admin/assets/icon.svg" />
        <link rel="stylesheet" href="/admin/assets/dashboard.css" />
        {script && <script type="module" src={`/admin/assets/${script}`} />}
      </head>
      <body>
        <a class="skip" href="#main">
          Skip to the content
        </a>
        <header class="bar">
          <a class="brand" href="/admin">
            Switchyard
          </a>
          <span id="live" role="status" />
          {operator !== null && (
            <form method="post" action="/admin/sign-out">
              <span class="who">{operator}</span>
              <button type="submit">Sign out</button>
            </form>
          )}
        </header>
        <main id="main" tabindex={-1}>
          {children}
        </main>
      </body>
    </html>
  )
}

/** The names of a table's columns. */
export function Head({ of }: { of: readonly string[] }) {
  return (
    <thead>
      <tr>
        {of.map((name) => (
          <th scope="col">{name}</th>
        ))}
      </tr>
    </thead>
  )
}

/** A whole document of a page. */
export function documentOf(page: unknown): string {
  return `<!doctype html>${String(page)}`
}
