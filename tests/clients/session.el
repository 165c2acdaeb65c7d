;;; session.el --- dap-mode at a debug adapter, without a terminal  -*- lexical-binding: t; -*-

;; A breakpoint at a line, its frame, a step, on to the end. What is seen is printed, a line each.

(setq dap-auto-configure-features nil
      dap-breakpoints-file (expand-file-name "breakpoints" (getenv "DAP_RECORDS"))
      user-emacs-directory (file-name-as-directory (getenv "DAP_RECORDS"))
      create-lockfiles nil
      make-backup-files nil)
(require 'dap-mode)
(defvar dap-exception-breakpoints nil "Of dap-ui, which needs a window.")

(defvar seen nil "What happened, the last first.")
(add-hook 'dap-stack-frame-changed-hook
          (lambda (session) (when (dap--debug-session-active-frame session) (push 'stopped seen))))
(add-hook 'dap-terminated-hook (lambda (_) (push 'terminated seen)))

(defun wait-for (what)
  "Wait until WHAT has happened, and forget it."
  (while (not (memq what seen))
    (accept-process-output nil 0.05))
  (setq seen (delq what seen)))

(defun say-frame ()
  "Print the line and the name of the frame in view."
  (let* ((session (dap--cur-session))
         (body (dap-request session "stackTrace" :threadId (dap--debug-session-thread-id session)))
         (frame (elt (gethash "stackFrames" body) 0)))
    (princ (format "%s %s\n" (gethash "line" frame) (gethash "name" frame)))))

(find-file (getenv "DAP_RULES"))
(fundamental-mode)
(goto-char (point-min))
(search-forward "rule priced")
(dap-breakpoint-add)
(dap-start-debugging-noexpand
 (list :type "then" :request "launch" :name "shop"
       :dap-server-path (list (getenv "DAP_PYTHON") (getenv "DAP_RECORDER"))
       :path (getenv "DAP_RULES") :post "order"
       :body '(:id 7 :total 450)))
(wait-for 'stopped)
(say-frame)
(dap-next (dap--cur-session))
(wait-for 'stopped)
(say-frame)
(dap-continue (dap--cur-session) (dap--debug-session-thread-id (dap--cur-session)))
(wait-for 'terminated)
(princ "terminated\n")
(kill-emacs 0)

;;; session.el ends here
