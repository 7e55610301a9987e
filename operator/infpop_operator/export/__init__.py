"""Write results in the form that another project reads: the best one for serving, or all trials as a table.

Pure: nothing here reads or writes a file.
"""
