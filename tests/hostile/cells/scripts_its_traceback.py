# HOSTILE: fails with a traceback that is a page
# does not start, at most 0
raise RuntimeError("</pre><script>alert(1)</script><img src=x onerror=alert(2)>\x1b[2J\u202e]]>" * 50)
