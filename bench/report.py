"""x"""
def page(found): return ""
